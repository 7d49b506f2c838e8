"""Write the pool in the order to review it.

Rule: memory holds a few numbers an image, never a table: rows lie in a file beside, and are copied in their new order.
"""

import tempfile
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import BinaryIO

from activelearning import ordering, table
from activelearning.errors import BlobExists
from activelearning.labels import ImageLabels
from activelearning.settings import Selection
from activelearning.store import Blobs

_BETWEEN_AUDITS = 9


def write(blobs: Blobs, name: str, images: Iterable[ImageLabels], selection: Selection, audits: Sequence[str] = ()) -> int:
    """Order the images by the selection, create the totag `name`, and return how many images it lists.

    An image that comes twice counts once, the first time. A totag that is there already stays as it is. The selection would put
    `audits`, images that the model is sure of, last: one of them stands in every tenth place instead, in their order, as long as there are
    any.
    """
    with tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as ordered:
        pool, ends = _spool(images, selection, rows)
        order = _with_audits(ordering.order_pool(pool, selection), pool.images, audits)
        _copy_in_order(rows, ends, order, ordered)
        # Of two trainers that both believe they hold the job, the first one's stands.
        with suppress(BlobExists):
            if not blobs.exists(name):
                ordered.seek(0)
                blobs.create(name, ordered)
        return len(order)


def _spool(images: Iterable[ImageLabels], selection: Selection, rows: BinaryIO) -> tuple[ordering.Pool, "array[int]"]:
    pool, ends, end = ordering.Pool(), array("Q", [0]), 0
    seen: set[str] = set()
    for labels in images:
        if labels.image in seen:
            continue
        seen.add(labels.image)
        scored = replace(labels, image_confidence=_confidence(labels, selection))
        end += rows.write(table.image_rows(scored).encode())
        ends.append(end)
        pool.add(labels.image, ordering.image_score(scored, selection), scored.image_confidence or 0.0, {b.label for b in labels.boxes})
    return pool, ends


def _with_audits(order: Sequence[int], images: Sequence[str], audits: Sequence[str]) -> Sequence[int]:
    if not audits:
        return order
    place = {image: number for number, image in enumerate(audits)}
    drawn = sorted((index for index in order if images[index] in place), key=lambda index: place[images[index]])
    others = (index for index in order if images[index] not in place)
    mixed = [index for audit in drawn for index in (*islice(others, _BETWEEN_AUDITS), audit)]
    return [*mixed, *others]


def _confidence(labels: ImageLabels, selection: Selection) -> float:
    """The image's confidence as the table states it: its boxes' confidences, aggregated as the selection says; 0 without boxes.

    A sum may pass 1, which is the surest that a bound can ask for.
    """
    return round(min(ordering.image_score(labels, replace(selection, strategy="least-confidence")), 1.0), 6)


def _copy_in_order(rows: BinaryIO, ends: "array[int]", order: Iterable[int], ordered: BinaryIO) -> None:
    ordered.write(table.header_line().encode())
    for index in order:
        rows.seek(ends[index])
        ordered.write(rows.read(ends[index + 1] - ends[index]))
