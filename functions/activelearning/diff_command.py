"""`activelearning diff`: what people made of the drafts they were handed, as a table, as JSON, and box by box as a CSV file.

Rule: it only reads; the file it writes is a new one. A batch that cannot be read costs a warning, not the others. Batches of labels that
were looked at again are left out, for they say nothing of drafts; each is shown by its name.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from activelearning import batch_diffs, cost, layout, steps
from activelearning.batch_diffs import BatchDiff, Change
from activelearning.commandline import emit, progress, warn
from activelearning.cost import CostModel
from activelearning.diff import Totals, total
from activelearning.errors import UserError
from activelearning.expected_cost import rounded
from activelearning.store import Blobs, open_store


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what it is about, and what became of its drafts. `images` and both seconds are None where the line is about a
    class, which shares its images with others."""

    key: str
    batches: int
    images: int | None
    drafts: int
    totals: Totals
    mean_nudge_iou: float | None
    seconds: float | None
    expected_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        plain = asdict(self.totals)
        plain |= {"reviewed_empty": None, "unopened": None} if self.images is None else {}
        iou = None if self.mean_nudge_iou is None else round(self.mean_nudge_iou, 4)
        found = {"key": self.key, "batches": self.batches, "images": self.images, "drafts": self.drafts, "mean_nudge_iou": iou}
        return found | plain | {"seconds": rounded(self.seconds), "expected_seconds": rounded(self.expected_seconds)}


def run(arguments: argparse.Namespace) -> None:
    """The command."""
    store = open_store(arguments.store)
    costs = cost.model(steps.project(store).costs)
    found = _diffs(store.labels, arguments.batch)
    warn([problem for one in found for problem in one.problems])
    if arguments.to:
        _write(arguments.to, found)
    rows = _GROUPS[arguments.by](found, costs)
    changed = batch_diffs.relabelled(change for one in found for change in one.changes())
    value = {
        "by": arguments.by,
        "rows": [row.as_dict() for row in rows],
        "relabelled": [{"from": old, "to": new, "boxes": count} for (old, new), count in changed.items()],
        "problems": [str(problem) for one in found for problem in one.problems],
    }
    emit(arguments, value, "\n".join(_text(rows, arguments.by, changed, arguments.to)))


def _diffs(blobs: Blobs, batch: str) -> list[BatchDiff]:
    prefix = layout.batch_folder(layout.check_id(batch)) if batch else layout.BATCHES
    listed = batch_diffs.listed(blobs, prefix)
    if batch and not listed:
        raise UserError(f"batch {batch} has not come back, or there is no such batch: `activelearning status` names those that are out")
    found = progress(batch_diffs.read_all(blobs, listed), "comparing batches", len(listed))
    # who names a batch wants to see it, whatever it was
    return list(found) if batch else batch_diffs.of_drafts(found)


def _by(key: Callable[[BatchDiff], str]) -> Callable[[Sequence[BatchDiff], CostModel], list[Row]]:
    def rows(found: Sequence[BatchDiff], costs: CostModel) -> list[Row]:
        groups: dict[str, list[BatchDiff]] = {}
        for one in found:
            groups.setdefault(key(one), []).append(one)
        return [_row(name, group, costs) for name, group in groups.items()]

    return rows


def _row(key: str, group: Sequence[BatchDiff], costs: CostModel) -> Row:
    totals, images = total(one.totals for one in group), sum(len(one.images) for one in group)
    expected = [one.expected for one in group if one.images]
    whole = sum(one.seconds for one in expected if one) if expected and all(expected) else None
    iou = batch_diffs.mean_nudge_iou(change for one in group for change in one.changes())
    return Row(key, len(group), images, sum(one.drafts for one in group), totals, iou, costs.review_seconds(images, totals), whole)


def _by_class(found: Sequence[BatchDiff], costs: CostModel) -> list[Row]:
    changes = [change for one in found for change in one.changes()]
    return [_class_row(label, totals, changes, found) for label, totals in batch_diffs.by_class(changes).items()]


def _class_row(label: str, totals: Totals, changes: Iterable[Change], found: Sequence[BatchDiff]) -> Row:
    own = [change for change in changes if change.label == label]
    batches = sum(any(change.label == label for change in one.changes()) for one in found)
    drafts = totals.kept + totals.moved + totals.relabelled + totals.deleted
    return Row(label, batches, None, drafts, totals, batch_diffs.mean_nudge_iou(own), None, None)


_GROUPS: Mapping[str, Callable[[Sequence[BatchDiff], CostModel], list[Row]]] = {
    "batch": _by(lambda one: one.batch),
    "class": _by_class,
    "tagger": _by(lambda one: one.tagger),
    "day": _by(lambda one: one.day),
}


def _text(rows: Sequence[Row], by: str, changed: Mapping[tuple[str, str], int], written: Path | None) -> Iterator[str]:
    if not rows:
        yield "no batch has come back yet"
        return
    yield from _table(rows, by)
    if changed:
        yield "relabelled: " + ", ".join(f"{old} → {new} {count:,}" for (old, new), count in list(changed.items())[:_MOST_PAIRS])
    if written:
        yield f"every box of it in {written}"


_MOST_PAIRS = 10
_COLUMNS = ("images", "drafts", "kept", "nudged", "IoU", "relabelled", "deleted", "added", "minutes", "expected")


def _table(rows: Sequence[Row], by: str) -> Iterator[str]:
    cells = [(by, *_COLUMNS), *(_cells(row) for row in rows)]
    if len(rows) > 1 and by != "class":
        cells.append(("all", *map(str, _sums(rows))))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for first, *others in cells:
        yield "  ".join((first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)))).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    found = row.totals
    iou = "-" if row.mean_nudge_iou is None else f"{row.mean_nudge_iou:.2f}"
    counts = (_share(found.kept, row.drafts), _share(found.moved, row.drafts), iou)
    changes = (_share(found.relabelled, row.drafts), _share(found.deleted, row.drafts), f"{found.added:,}")
    return row.key, _known(row.images), f"{row.drafts:,}", *counts, *changes, _minutes(row.seconds), _minutes(row.expected_seconds)


def _sums(rows: Sequence[Row]) -> tuple[str, ...]:
    expected = [row.expected_seconds for row in rows]
    known = sum(filter(None, expected)) if None not in expected else None
    whole = Row(
        "",
        sum(row.batches for row in rows),
        sum(row.images or 0 for row in rows),
        sum(row.drafts for row in rows),
        total(row.totals for row in rows),
        None,
        sum(row.seconds or 0.0 for row in rows),
        known,
    )
    return _cells(whole)[1:]


def _share(count: int, drafts: int) -> str:
    return f"{count:,} ({count / drafts:.0%})" if drafts else f"{count:,}"


def _known(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


_HEADER = ("batch", "tagger", "day", "model", "image", "change", "class", "became", "iou", "confidence")


def _write(path: Path, found: Sequence[BatchDiff]) -> None:
    try:
        with path.open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_HEADER)
            writer.writerows(row for one in found for row in _csv_rows(one))
    except FileExistsError:
        raise UserError(f"{path} exists and stays as it is: choose another file") from None


def _csv_rows(found: BatchDiff) -> Iterator[Sequence[object]]:
    model = found.handout.model if found.handout else ""
    for image in found.images:
        for one in image.changes():
            numbers = ("" if value is None else round(value, 6) for value in (one.iou, one.confidence))
            yield found.batch, found.tagger, found.day, model, image.drafts.image, one.what, one.label, one.became, *numbers
