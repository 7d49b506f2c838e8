"""A trained model as ONNX, and the proof that it finds the same as the model it came from.

Rule: nothing is published that was not compared. Detections are compared as sets after `decode`, at several batch sizes: raw
tensors may differ in order where scores tie, and a graph fixed at the example's batch size exports without any error.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from activelearning.errors import ActiveLearningError
from activelearning.settings import Prediction
from trainer import detections, onnx_graph
from trainer.detections import Detections
from trainer.detectors import family
from trainer.monte_carlo import draw_masks
from trainer.predictor import INPUT, open_session

_BATCH_SIZES = (1, 2, 5)
_EXAMPLE_BATCH = 3
_EXAMPLE_SAMPLES = 4
_SCORE_TOLERANCE = 1e-3
_SAME_BOX_IOU = 0.99
_MISSING_TOLERANCE = 0.01
"""Share of detections that may lack a partner: scores at the threshold, or that tie, may fall on either side."""


class ParityError(ActiveLearningError):
    """The exported model does not find what the trained one finds."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported model is from the trained one.

    `detections` that either found, both counted; `missing` of them without a partner in the other; among the partners the largest
    difference of score, of a corner and of a corner's standard deviation (pixels of the input).
    """

    detections: int
    missing: int
    score_difference: float
    box_difference: float
    spread_difference: float


def export(model: nn.Module, family_name: str, input_size: tuple[int, int]) -> bytes:
    """The model as one ONNX file: input `images` (B, 3, H, W) float32 RGB 0..255, any B, and the family's masks (T, channels) for
    any T; the family's outputs by name."""
    one = family(family_name)
    images = torch.rand(_EXAMPLE_BATCH, 3, input_size[1], input_size[0]) * 255
    masks = [torch.ones(_EXAMPLE_SAMPLES, count) for count in one.masks.values()]
    return onnx_graph.to_onnx(model, (images, *masks), {INPUT: "batch"} | dict.fromkeys(one.masks, "samples"), one.outputs)


def check_parity(model: nn.Module, onnx: bytes, family_name: str, images: Sequence[np.ndarray], settings: Prediction) -> Parity:
    """Compare both on letterboxed real images (H, W, 3) uint8, in batches of 1, 2 and 5; fewer images are repeated.

    Raises `ParityError` with the figures when they differ by more than rounding can explain.
    """
    session = open_session(onnx)
    one = family(family_name)
    evaluated = copy.deepcopy(model).cpu().eval()
    pairs = []
    for size in _BATCH_SIZES:
        batch = np.stack([images[index % len(images)] for index in range(size)]).transpose(0, 3, 1, 2).astype(np.float32)
        input_size = (batch.shape[3], batch.shape[2])
        masks = draw_masks(one.masks, size, one.dropout)
        trained = one.decode(_run_torch(evaluated, [batch, *masks.values()]), input_size, settings)
        exported = one.decode(session.run(None, {INPUT: batch} | masks), input_size, settings)
        pairs += zip(trained, exported, strict=True)
    return _judged(_parity(pairs))


def _run_torch(model: nn.Module, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    with torch.inference_mode():
        return [output.numpy() for output in model(*map(torch.from_numpy, inputs))]


def _parity(pairs: Sequence[tuple[Detections, Detections]]) -> Parity:
    partners = [_partners(first, second) for first, second in pairs]
    total = sum(len(first) + len(second) for first, second in pairs)
    differences = zip(*(_differences(first, second) for first, second in partners), strict=True)
    return Parity(total, total - 2 * sum(len(first) for first, _ in partners), *(max(values) for values in differences))


def _partners(first: Detections, second: Detections) -> tuple[Detections, Detections]:
    """The detections that both have, each with its best partner."""
    overlap = detections.box_iou(first.xyxy, second.xyxy)
    scores = np.abs(first.confidence[:, None] - second.confidence[None])
    same = (overlap > _SAME_BOX_IOU) & (first.class_id[:, None] == second.class_id[None]) & (scores < _SCORE_TOLERANCE)
    rows = np.flatnonzero(same.any(1))
    columns = np.where(same, overlap, -1)[rows].argmax(1) if len(rows) else rows
    columns, chosen = np.unique(columns, return_index=True)
    return first[rows[chosen]], second[columns]


def _differences(first: Detections, second: Detections) -> tuple[float, float, float]:
    """Largest difference of score, corner and standard deviation among partners; 0 without any."""
    spreads = (first.spread.total, second.spread.total) if first.spread and second.spread else (first.xyxy, first.xyxy)
    return tuple(
        float(np.abs(one - other).max(initial=0.0))
        for one, other in ((first.confidence, second.confidence), (first.xyxy, second.xyxy), spreads)
    )


def _judged(parity: Parity) -> Parity:
    if parity.missing > _MISSING_TOLERANCE * parity.detections:
        raise ParityError(
            f"the exported model differs from the trained one: {parity.missing} of {parity.detections} detections have no partner "
            f"(largest differences of the others: score {parity.score_difference:.2g}, corner {parity.box_difference:.2g} pixels)"
        )
    return parity
