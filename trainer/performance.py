"""`performance.csv`: one row an iteration × class × metric, all iterations. And the model card, which holds the same figures."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from activelearning import layout
from activelearning.errors import BlobChanged, BlobMissing
from activelearning.store import Blobs
from trainer.evaluation import Metrics

COLUMNS = ("flow", "iteration", "class", "metric", "value", "support", "labelled_images", "test_images", "at")


def rows(run: str, metrics: Metrics, labelled_images: int, test_images: int, at: str) -> list[dict[str, Any]]:
    """The rows of one run. A figure that there is none of (no such object in the test split) is an empty value, never NaN."""
    flow, _, iteration = run.rpartition("/")
    common = {"flow": flow, "iteration": int(iteration), "labelled_images": labelled_images, "test_images": test_images, "at": at}
    return [
        common | {"class": m.label, "metric": m.name, "value": "" if m.value is None else round(m.value, 6), "support": m.support}
        for m in metrics.rows
    ]


def read(blobs: Blobs) -> list[Mapping[str, Any]]:
    """All rows of `performance.csv`, values as text; none before the first evaluation."""
    return _read(blobs)[1]


def publish(blobs: Blobs, run_rows: list[dict[str, Any]]) -> None:
    """Append a run's rows by compare-and-swap, unless the run's are there already."""
    while run_rows:
        etag, present = _read(blobs)
        key = (run_rows[0]["flow"], str(run_rows[0]["iteration"]))
        if any((row["flow"], row["iteration"]) == key for row in present):
            return
        try:
            blobs.replace(layout.PERFORMANCE, _encode([*present, *run_rows]), etag)
        except BlobChanged:
            continue
        return


def _read(blobs: Blobs) -> tuple[str | None, list[Mapping[str, Any]]]:
    try:
        blob = blobs.read(layout.PERFORMANCE)
    except BlobMissing:
        return None, []
    return blob.etag, list(csv.DictReader(io.StringIO(blob.content.decode("utf-8-sig"))))


def _encode(all_rows: list[Mapping[str, Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(all_rows)
    return out.getvalue().encode()


def read_card(blobs: Blobs, run: str) -> dict[str, Any]:
    """A run's model card. Raises `BlobMissing` when there is no such model."""
    card: dict[str, Any] = json.loads(blobs.read(layout.model(run, "model.json")).content)
    return card


def write_card(blobs: Blobs, run: str, card: Mapping[str, Any]) -> None:
    """Write a run's model card; the one of an earlier, killed attempt stays."""
    name = layout.model(run, "model.json")
    if not blobs.exists(name):
        blobs.create(name, json.dumps(card, indent=1, ensure_ascii=False).encode())
