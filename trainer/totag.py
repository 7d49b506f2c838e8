"""Write the pool in the order to review it, and why each image stands where it stands.

Rule: memory holds a few numbers a box, never a table: rows lie in a file beside, and are copied in their new order.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import BinaryIO

import numpy as np

from activelearning import ordering, table
from activelearning.errors import BlobExists
from activelearning.labels import ImageLabels
from activelearning.ordering import Order, Pool
from activelearning.settings import Selection
from activelearning.store import Blobs
from trainer.query import candidates, ranking, sampling, uncertainty, why
from trainer.query.candidates import Candidates
from trainer.query.strategy import Extra, Ranking

_BETWEEN_AUDITS = 9
_AT_A_TIME = 1024
_DIGITS = 6


def write(
    blobs: Blobs,
    name: str,
    images: Iterable[ImageLabels],
    selection: Selection,
    audits: Sequence[str] = (),
    load: Callable[[Candidates], Extra] = lambda pool: Extra(),
) -> int:
    """Order the images by the selection, create the totag `name`, and return how many images it lists.

    An image that comes twice counts once, the first time. A totag that is there already stays as it is. The selection would put
    `audits`, images that the model is sure of, last: one of them stands in every tenth place instead, in their order, as long as there are
    any. `load` gives what the strategy needs beside the predictions, for the pool in the order of its names.
    """
    with tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as ordered:
        pool, ends = _spool(images, selection, rows)
        extra = load(pool)
        ranked = ranking.rank(pool, selection, extra)
        drawn = in_shares(pool, ranked, selection)
        order = _with_audits(drawn.indices, pool.images, audits)
        chosen_for = _reasons(pool, why.reasons(pool, selection, ranked, extra), drawn, frozenset(audits))
        _copy_in_order(rows, ends, order, ordered, lambda index: (_rounded(ranked.score[index]), chosen_for(index)))
        # Of two trainers that both believe they hold the job, the first one's stands.
        with suppress(BlobExists):
            if not blobs.exists(name):
                ordered.seek(0)
                blobs.create(name, ordered)
        return len(order)


def in_shares(pool: Candidates, ranked: Ranking, selection: Selection) -> Order:
    """The ranking with the selection's confidence bounds, class balance and folder quotas; near-duplicates last."""
    confidences = uncertainty.image_confidence(pool, selection).round(_DIGITS).tolist()
    labels = _labels(pool) if selection.class_balance else [()] * len(pool)
    late = frozenset() if ranked.duplicate_of is None else frozenset(np.flatnonzero(ranked.duplicate_of >= 0).tolist())
    return ordering.order_pool(Pool(pool.images, confidences, labels), ranked.order.tolist(), selection, late)


def _spool(images: Iterable[ImageLabels], selection: Selection, rows: BinaryIO) -> tuple[Candidates, np.ndarray]:
    """The pool by name, and where in `rows` the rows of each image begin and end, (N, 2)."""
    columns, sizes = ranking.columns(selection), [0]
    parts = [candidates.of_labels((), columns)]
    each = _each_once(images)
    while group := list(islice(each, _AT_A_TIME)):
        part = candidates.of_labels(group, columns)
        for labels, confidence in zip(group, uncertainty.image_confidence(part, selection).round(_DIGITS).tolist(), strict=True):
            fresh = replace(labels, image_confidence=confidence, acquisition_score=None, chosen_for="")
            sizes.append(rows.write(table.image_rows(fresh).encode()))
        parts.append(part)
    pool, place = candidates.by_name(candidates.concatenated(parts))
    ends = np.cumsum(sizes)
    return pool, np.stack([ends[place], ends[place + 1]], 1)


def _each_once(images: Iterable[ImageLabels]) -> Iterator[ImageLabels]:
    seen: set[str] = set()
    for labels in images:
        if labels.image not in seen:
            seen.add(labels.image)
            yield labels


def _labels(pool: Candidates) -> list[tuple[str, ...]]:
    """The classes that each image shows; equal ones are one object."""
    known: dict[tuple[int, ...], tuple[str, ...]] = {}
    image, label = sampling.image_classes(pool)
    ends = np.cumsum(np.bincount(image, minlength=len(pool))).tolist()
    each = (tuple(label[start:stop].tolist()) for start, stop in zip([0, *ends], ends, strict=False))
    return [known.setdefault(found, tuple(pool.classes[number] for number in found)) for found in each]


def _with_audits(order: Sequence[int], images: Sequence[str], audits: Sequence[str]) -> Sequence[int]:
    if not audits:
        return order
    place = {image: number for number, image in enumerate(audits)}
    drawn = sorted((index for index in order if images[index] in place), key=lambda index: place[images[index]])
    others = (index for index in order if images[index] not in place)
    mixed = [index for audit in drawn for index in (*islice(others, _BETWEEN_AUDITS), audit)]
    return [*mixed, *others]


def _reasons(pool: Candidates, of_ranking: Callable[[int], str], drawn: Order, audits: frozenset[str]) -> Callable[[int], str]:
    turns: Mapping[str, Mapping[int, str]] = {"balance": drawn.by_class, "folder": drawn.by_folder}

    def reason(index: int) -> str:
        if pool.images[index] in audits:
            return why.AUDIT
        return "; ".join((of_ranking(index), *(f"{share}: {names[index]}" for share, names in turns.items() if index in names)))

    return reason


def _rounded(score: float) -> float:
    return float(f"{score:.{_DIGITS}g}")


def _copy_in_order(
    rows: BinaryIO, ends: np.ndarray, order: Iterable[int], ordered: BinaryIO, choice: Callable[[int], tuple[float, str]]
) -> None:
    ordered.write(table.header_line().encode())
    for index in order:
        start, end = ends[index].tolist()
        rows.seek(start)
        ordered.write(table.with_choice(rows.read(end - start).decode(), *choice(index)).encode())
