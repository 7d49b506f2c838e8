"""What the outputs of torchvision's detectors say, with numpy alone: boxes, scores, spread and outlines in pixels of the input.

Rule: all families find the same way. The graph hands out candidates, each a class at an anchor, with a code that leads from the anchor to
the box; here they are decoded, compared, and what is known of each follows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from activelearning.settings import Prediction
from trainer import box_decoding, detections, spread
from trainer.detections import Detections
from trainer.detectors import EMBEDDING, Decode
from trainer.masks import Masks
from trainer.spread import Spread

OUTPUTS = ("labels", "scores", "anchors", "codes", "log_stds", "sampled_scores", "sampled_codes", "features", EMBEDDING)
"""Of B images, M candidates each, C classes, T samples: `labels` (B, M) the class that a candidate stands for, -1 where there is none;
`scores` (B, M, C) of all classes; `anchors` (B, M, 4) by corners; `codes` and the logarithm of their standard deviations (B, M, 4);
`sampled_scores` (B, T, M, C) and `sampled_codes` (B, T, M, 4); `features` (B, M, F); the embedding (B, D)."""
MASKS = "masks"
"""A further output, where outlines are drawn: probabilities (B, M, h, w), stretched over the candidate's box."""

_LEAST_SIDE = 0.01
"""Pixels; torchvision forgets boxes that are narrower."""
_LARGEST_GROWTH = np.float32(np.log(1000 / 16))
_LARGEST_STD = 1.0
"""Of a code, in shares of the anchor and logarithms of sides: beyond, a log-normal's moments run away, and a box is as unsure as can be."""


@dataclass(frozen=True, slots=True)
class _Code:
    """`corners` of codes and anchors (..., 4), and the standard deviation of these from codes, theirs, and anchors (N, 4)."""

    corners: Callable[[np.ndarray, np.ndarray], np.ndarray]
    std: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def decoder(code: str) -> Decode:
    """The `decode` of a family whose codes are `deltas`, log-encoded in shares of the anchor (Girshick 2015), or `distances` to the left,
    top, right and bottom side from its centre, in widths and heights of the anchor (FCOS).

    Detections come most confident first, after class-wise non-maximum suppression, clipped to the input.
    """
    return partial(_decode, _CODES[code])


def _decode(code: _Code, outputs: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[Detections]:
    by_name = dict(zip((*OUTPUTS, MASKS), outputs, strict=False))
    return [
        _image({name: output[image] for name, output in by_name.items()}, code, input_size, settings) for image in range(len(outputs[0]))
    ]


def _image(found: Mapping[str, np.ndarray], code: _Code, input_size: tuple[int, int], settings: Prediction) -> Detections:
    labels, scores = found["labels"], found["scores"]
    confidence = np.take_along_axis(scores, np.maximum(labels, 0)[:, None], 1)[:, 0]
    at = np.flatnonzero((labels >= 0) & (confidence > settings.min_confidence))
    bound = np.array([*input_size, *input_size], np.float32)
    boxes = np.clip(code.corners(found["codes"][at], found["anchors"][at]), 0, bound)
    large = (boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(1)
    at, boxes = at[large], boxes[large]
    keep = detections.nms(boxes, confidence[at], labels[at], settings.nms_iou, settings.max_detections)
    at, boxes = at[keep], boxes[keep]
    plain = Detections(boxes, confidence[at], labels[at], scores[at], features=found["features"][at])
    masks = Masks(found[MASKS][at], boxes) if MASKS in found else None
    return replace(plain, spread=_spread(found, at, code, bound), masks=masks)


def _spread(found: Mapping[str, np.ndarray], at: np.ndarray, code: _Code, bound: np.ndarray) -> Spread:
    """Of the candidates `at` (N,)."""
    codes, anchors = found["codes"][at], found["anchors"][at]
    sampled = np.clip(code.corners(found["sampled_codes"][:, at], anchors), 0, bound)
    return spread.sampled(found["sampled_scores"][:, at], sampled, code.std(codes, np.exp(found["log_stds"][at]), anchors))


def _corners_of_deltas(codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    low, high = anchors[..., :2], anchors[..., 2:]
    centre = codes[..., :2] * (high - low) + (low + high) / 2
    half = np.exp(np.minimum(codes[..., 2:], _LARGEST_GROWTH)) * (high - low) / 2
    return np.concatenate([centre - half, centre + half], -1)


def _std_of_deltas(codes: np.ndarray, std: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    bounded = np.concatenate([codes[:, :2], np.minimum(codes[:, 2:], _LARGEST_GROWTH)], 1)
    return box_decoding.decode("l-norm", bounded, np.minimum(std, _LARGEST_STD), anchors).std


def _corners_of_distances(codes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    low, high = anchors[..., :2], anchors[..., 2:]
    centre, sides = (low + high) / 2, high - low
    return np.concatenate([centre - codes[..., :2] * sides, centre + codes[..., 2:] * sides], -1)


def _std_of_distances(codes: np.ndarray, std: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    return np.asarray(std * np.tile(anchors[:, 2:] - anchors[:, :2], 2))


_CODES = {
    "deltas": _Code(_corners_of_deltas, _std_of_deltas),
    "distances": _Code(_corners_of_distances, _std_of_distances),
}
