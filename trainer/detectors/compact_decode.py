"""What the compact detector's outputs say: boxes, scores and spread in pixels of its input, with numpy alone.

Rule: whoever predicts from the exported model needs nothing of torch, and a model from before there were masks or features is read too.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from activelearning.settings import Prediction
from trainer import detections
from trainer.detections import Detections
from trainer.spread import Spread, sampled

STRIDES = (8, 16, 32)
"""Input pixels between the grid points of each level."""
_WITHOUT_SAMPLES = 3
"""So many outputs has a model that was exported before there were masks."""
_FEATURES = 5
"""Where the features are among the outputs, of a model that was not exported before there were any."""
_BEFORE_NMS = 300
"""So many boxes of an image, the most confident, go into non-maximum suppression; it takes time with their square."""


def decode(outputs: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[Detections]:
    """The detections of each image, most confident first, clipped to the input (W, H).

    A point may stand for several classes; non-maximum suppression works within a class. Spread and features follow each box through it.
    """
    return [found for found, _ in decode_points(outputs, input_size, settings)]


def decode_points(outputs: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[tuple[Detections, np.ndarray]]:
    """The same, and the grid point (N,) that each detection stands at."""
    centres, strides = grid(*input_size)
    boxes = np.clip(_corners(centres, outputs[1]), 0, np.array([*input_size, *input_size], np.float32))
    images = zip(_sigmoid(outputs[0]), boxes, strict=True)
    kept = [_suppress(scores, corners, settings) for scores, corners in images]
    if len(outputs) == _WITHOUT_SAMPLES:
        return kept
    spreads = [
        _spread([output[image] for output in outputs[2:_FEATURES]], point, centres, strides) for image, (_, point) in enumerate(kept)
    ]
    features = [outputs[_FEATURES][image][:, point].T if len(outputs) > _FEATURES else None for image, (_, point) in enumerate(kept)]
    return [
        (replace(found, spread=spread, features=seen), point) for (found, point), spread, seen in zip(kept, spreads, features, strict=True)
    ]


def grid(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (A, 2) in input pixels and strides (A,) of all grid points, level by level, row by row."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        centres.append((np.stack([columns, rows], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full(len(centres[-1]), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _corners(centres: np.ndarray, distances: np.ndarray) -> np.ndarray:
    return np.concatenate([centres - distances[..., :2], centres + distances[..., 2:]], -1)


def _spread(outputs: Sequence[np.ndarray], point: np.ndarray, centres: np.ndarray, strides: np.ndarray) -> Spread:
    """Of the boxes that stand at `point` (N,): a corner is off by as much as the distance that leads to it."""
    log_stds, logits, distances = (output[..., point, :] for output in outputs)
    return sampled(_sigmoid(logits), _corners(centres[point], distances), np.exp(log_stds) * strides[point, None])


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # by way of tanh it cannot overflow
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def _suppress(scores: np.ndarray, boxes: np.ndarray, settings: Prediction) -> tuple[Detections, np.ndarray]:
    """The detections of one image, and the grid point (N,) of each."""
    point, label = _candidates(scores, settings.min_confidence)
    found = Detections(boxes[point], scores[point, label], label, scores[point])
    keep = detections.nms(found.xyxy, found.confidence, found.class_id, settings.nms_iou, settings.max_detections)
    return found[keep], point[keep]


def _candidates(scores: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    point, label = np.nonzero(scores > min_confidence)
    best = np.argsort(-scores[point, label], kind="stable")[:_BEFORE_NMS]
    return point[best], label[best]
