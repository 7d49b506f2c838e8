"""Which file of a run's model predicts: as it was trained, or in smaller numbers if those were proved to find as much.

Rule: decided once a run, before anything is measured or learned of the model, and written create-once, so that evaluation, calibration,
drafts, promises and every trainer that helps with the pool look through the same file. Average precision on the same images decides; a
model in smaller numbers that cannot be made, or not judged, is not used, and it is said why.

Where the machine may accept labels by a proof (`autolabel.precision`), the images of that proof do not choose the model that it is
about: training images do.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np

from activelearning import layout
from activelearning.errors import BlobExists, BlobMissing, UserError
from activelearning.labels import ImageLabels
from trainer import engine, engine_record, evaluation, held_out, quantise, view
from trainer.engine_record import FLOAT16, FLOAT32, INT8, Choice, sha256
from trainer.predictor import Predictor
from trainer.work import Work

MOST_LOSS = 0.005
"""Of average precision: half a point."""
LARGE_POOL = 5_000
"""Images from which on a network of bytes earns back the minute that it takes to make and to judge."""
_CALIBRATED_ON = 48
_CROPS = 8
"""Of one image at most, where it is shown in tiles."""
_JUDGED_ON = 200


def settle(work: Work, onnx: bytes, people: Sequence[ImageLabels], test: Sequence[ImageLabels]) -> bytes:
    """The model that the run predicts with from now on: the one an earlier attempt chose, or one chosen now.

    `onnx` is the model as trained, `people` are reviewed images that it was trained on.
    """
    blobs, run = work.store.labels, work.job.run
    if not blobs.exists(layout.engine(run)):
        choice = _chosen(work, onnx, people, test)
        engine_record.create(blobs, run, choice)
        work.tell(choice.reason)
    return engine_record.model_bytes(blobs, run)


def candidate(numbers: str, provider: str, fast_bytes: bool, pool_is_large: bool) -> str:
    """The numbers to try: those of the setting, or, where it is `auto`, those that pay on a machine like this."""
    if numbers != "auto":
        return numbers
    if provider != engine.CPU:
        return FLOAT16
    return INT8 if fast_bytes and pool_is_large else FLOAT32


def is_worth(ap_float32: float | None, ap_smaller: float | None) -> bool:
    """Whether smaller numbers find as much, to within `MOST_LOSS`; not where either is unknown."""
    return ap_float32 is not None and ap_smaller is not None and ap_float32 - ap_smaller <= MOST_LOSS + 1e-9


def _chosen(work: Work, onnx: bytes, people: Sequence[ImageLabels], test: Sequence[ImageLabels]) -> Choice:
    asked, provider = work.settings.prediction.numbers, engine.here()
    fast = engine.multiplies_bytes()
    numbers = candidate(asked, provider, fast, asked == "auto" and fast and _is_pool_large(work))
    if numbers == FLOAT32:
        return Choice(FLOAT32, "the model predicts in float32, as it was trained", sha256(onnx))
    try:
        smaller = _made(work, onnx, people, numbers)
    except Exception as error:  # noqa: BLE001  converters raise nearly anything for a graph that they do not know; the model itself is fine
        why = f"the model predicts in float32: it could not be made {numbers} ({type(error).__name__}: {str(error)[:200]})"
        return Choice(FLOAT32, why, sha256(onnx))
    return _judged(work, onnx, smaller, numbers, people, test)


def _is_pool_large(work: Work) -> bool:
    return sum(1 for _ in islice(work.store.images.list(), LARGE_POOL)) == LARGE_POOL


def _made(work: Work, onnx: bytes, people: Sequence[ImageLabels], numbers: str) -> bytes:
    """The model in these numbers as it lies in the store: another attempt may have made it already."""
    blobs, name = work.store.labels, layout.model_in(work.job.run, numbers)
    if not blobs.exists(name):
        made = quantise.to_float16(onnx) if numbers == FLOAT16 else quantise.to_int8(onnx, _batches(work, onnx, people))
        with suppress(BlobExists):
            blobs.create(name, made)
    return blobs.read(name).content


def _batches(work: Work, onnx: bytes, people: Sequence[ImageLabels]) -> Iterator[dict[str, np.ndarray]]:
    """What the model is shown of some images that it was trained on."""
    predictor = Predictor(onnx, work.settings.detector.family, work.settings.prediction)
    for labels in _some(people, _CALIBRATED_ON):
        with suppress(BlobMissing, UserError):
            content = work.store.images.read(labels.image).content
            yield from map(predictor.inputs, view.crops(content, predictor.input_size, predictor.view)[0][:_CROPS])


def _judged(work: Work, onnx: bytes, smaller: bytes, numbers: str, people: Sequence[ImageLabels], test: Sequence[ImageLabels]) -> Choice:
    from trainer.assessment import for_evaluation

    split = "test split" if test and not work.settings.autolabel.precision else "training images"
    images = _some(test if split == "test split" else people, _JUDGED_ON)
    settings, family = for_evaluation(work.settings.prediction), work.settings.detector.family
    both = []
    for model in (onnx, smaller):
        seen, _ = held_out.look(work, model, family, images, settings)
        both.append(evaluation.evaluate(seen.truth, seen.found, work.settings.classes).value("ap") if len(seen) else None)
    kept = is_worth(*both)
    shown = " and ".join("unknown" if ap is None else f"{ap:.4f}" for ap in both)
    why = f"{numbers} {'costs next to nothing' if kept else 'costs too much'}: AP {shown} on {len(images)} images of the {split}"
    used = numbers if kept else FLOAT32
    told = f"the model predicts in {used}; {why} in float32 and {numbers}"
    return Choice(used, told, sha256(smaller if kept else onnx), both[0], both[1], len(images), split)


def _some(images: Sequence[ImageLabels], most: int) -> Sequence[ImageLabels]:
    """At most so many, evenly spread."""
    step = max(1, -(-len(images) // most))
    return images[::step]
