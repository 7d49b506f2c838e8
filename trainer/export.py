"""A trained model as ONNX, and the proof that it finds the same as the model it came from.

Rule: nothing is published that was not compared. Detections are compared as sets after `decode`, at several batch sizes: raw
tensors may differ in order where scores tie, and a graph fixed at the example's batch size exports without any error.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from activelearning.errors import ActiveLearningError
from activelearning.settings import Prediction
from trainer import detections, onnx_graph
from trainer.detections import Detections
from trainer.detectors import family
from trainer.masks import Masks
from trainer.monte_carlo import draw_masks
from trainer.predictor import INPUT, open_session

_BATCH_SIZES = (1, 2, 5)
_EXAMPLE_BATCH = 3
_EXAMPLE_SAMPLES = 4
_SCORE_TOLERANCE = 1e-3
_SAME_BOX_IOU = 0.99
_MISSING_TOLERANCE = 0.01
"""Share of detections that may lack a partner: scores at the threshold, or that tie, may fall on either side."""
_MASK_TOLERANCE = 0.02
"""Of a mask's probabilities."""


class ParityError(ActiveLearningError):
    """The exported model does not find what the trained one finds."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported model is from the trained one.

    `detections` that either found, both counted; `missing` of them without a partner in the other; among the partners the largest
    difference of score, of a corner and of a corner's standard deviation (pixels of the input), and of a mask's probabilities.
    """

    detections: int
    missing: int
    score_difference: float
    box_difference: float
    spread_difference: float
    mask_difference: float = 0.0


def export(model: nn.Module, family_name: str, input_size: tuple[int, int]) -> bytes:
    """The model as one ONNX file: input `images` (B, 3, H, W) float32 RGB 0..255, any B, and the family's masks (T, channels) for
    any T; the family's outputs by name."""
    one = family(family_name)
    images = torch.rand(_EXAMPLE_BATCH, 3, input_size[1], input_size[0]) * 255
    masks = [torch.ones(_EXAMPLE_SAMPLES, count) for count in one.masks.values()]
    to_onnx = onnx_graph.to_onnx_strictly if one.strict_export else onnx_graph.to_onnx
    return to_onnx(model, (images, *masks), {INPUT: "batch"} | dict.fromkeys(one.masks, "samples"), one.outputs)


def check_parity(model: nn.Module, onnx: bytes, family_name: str, images: Sequence[np.ndarray], settings: Prediction) -> Parity:
    """Compare both on letterboxed real images (H, W, 3) uint8, in batches of 1, 2 and 5; fewer images are repeated.

    Raises `ParityError` with the figures when they differ by more than rounding can explain.
    """
    session = open_session(onnx)
    one = family(family_name)
    evaluated = copy.deepcopy(model).cpu().eval()
    pairs: list[tuple[Detections, Detections]] = []
    for size in _BATCH_SIZES:
        batch = np.stack([images[index % len(images)] for index in range(size)]).transpose(0, 3, 1, 2).astype(np.float32)
        input_size = (batch.shape[3], batch.shape[2])
        masks = draw_masks(one.masks, size, one.dropout)
        trained = one.decode(_run_torch(evaluated, [batch, *masks.values()]), input_size, settings)
        exported = one.decode(session.run(None, {INPUT: batch} | masks), input_size, settings)
        pairs += zip(trained, exported, strict=True)
    return _judged(_parity(pairs, settings.max_detections))


def _run_torch(model: nn.Module, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    with torch.inference_mode():
        return [output.numpy() for output in model(*map(torch.from_numpy, inputs))]


def _parity(pairs: Sequence[tuple[Detections, Detections]], most: int) -> Parity:
    """`most`: so many detections an image has at most."""
    total, missing, differences = 0, 0, [(0.0, 0.0, 0.0, 0.0)]
    for first, second in pairs:
        rows, columns = _partners(first, second)
        total += len(first) + len(second)
        missing += _lacking(first, rows, second, most) + _lacking(second, columns, first, most)
        differences.append(_differences(first[rows], second[columns]))
    return Parity(total, missing, *(max(values) for values in zip(*differences, strict=True)))


def _partners(first: Detections, second: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Which detections of each are the same, as many as can have one each: a hardly trained model finds one box many times."""
    overlap = detections.box_iou(first.xyxy, second.xyxy)
    scores = np.abs(first.confidence[:, None] - second.confidence[None])
    same = (overlap > _SAME_BOX_IOU) & (first.class_id[:, None] == second.class_id[None]) & (scores < _SCORE_TOLERANCE)
    # what two pairs are worth is more than any one, so none is given up for a better partner
    rows, columns = linear_sum_assignment(np.where(same, overlap - scores, 0.0), maximize=True)
    found = same[rows, columns]
    return rows[found], columns[found]


def _lacking(found: Detections, partnered: np.ndarray, other: Detections, most: int) -> int:
    """How many have no partner, but for those that tie for the last place of the other's `most`."""
    alone = np.delete(found.confidence, partnered)
    return int((alone > other.confidence.min() + _SCORE_TOLERANCE).sum()) if len(other) == most else len(alone)


def _differences(first: Detections, second: Detections) -> tuple[float, float, float, float]:
    """Largest difference of score, corner, standard deviation and mask among partners; 0 without any."""
    nothing = first.xyxy, first.xyxy
    spreads = (first.spread.total, second.spread.total) if first.spread and second.spread else nothing
    masks = (first.masks.grids, second.masks.grids) if isinstance(first.masks, Masks) and isinstance(second.masks, Masks) else nothing
    return _farthest(first.confidence, second.confidence), _farthest(first.xyxy, second.xyxy), _farthest(*spreads), _farthest(*masks)


def _farthest(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max(initial=0.0))


def _judged(parity: Parity) -> Parity:
    if parity.missing > _MISSING_TOLERANCE * parity.detections:
        raise ParityError(
            f"the exported model differs from the trained one: {parity.missing} of {parity.detections} detections have no partner "
            f"(largest differences of the others: score {parity.score_difference:.2g}, corner {parity.box_difference:.2g} pixels)"
        )
    if parity.mask_difference > _MASK_TOLERANCE:
        raise ParityError(f"the exported model differs from the trained one: its masks are off by up to {parity.mask_difference:.2g}")
    return parity
