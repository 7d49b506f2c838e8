"""Our own CSV, and the ancestor's, under the same two calls as every other format; what it means is in `activelearning.table`."""

from collections.abc import Sequence
from pathlib import Path

from activelearning import table
from activelearning.formats import output, parsing
from activelearning.labels import ImageLabels, Reading


def read(path: Path) -> Reading:
    """Read a CSV file."""
    return table.read_labels(parsing.decode(parsing.read_bytes(path), str(path)), str(path))


def write(images: Sequence[ImageLabels], path: Path, *, classes: Sequence[str] = ()) -> None:
    """Write a new CSV file. It has no list of classes."""
    output.create(path, "".join(table.write_labels(images)))
