"""What the outputs of a detector with object queries say: boxes, scores, spread and masks in pixels of its input, with numpy alone.

Rule: whoever predicts from the exported model needs nothing of torch, nor of the library that the network is from.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from activelearning.settings import Prediction
from trainer import detections
from trainer.detections import Detections
from trainer.masks import Masks
from trainer.spread import Spread, sampled

_LOGITS, _BOXES, _LOG_STDS, _SAMPLED_LOGITS, _SAMPLED_BOXES, _FEATURES, _EMBEDDING, _MASKS = range(8)
"""Where each is among the outputs (`queries.OUTPUTS`)."""
_BEFORE_NMS = 300
"""So many pairs of an image, the most confident, are candidates."""


def decode(outputs: Sequence[np.ndarray], input_size: tuple[int, int], settings: Prediction) -> list[Detections]:
    """The detections of each image, most confident first, clipped to the input (W, H).

    A detection is a query and one class: the best 300 pairs, as the networks' makers do it, who have as many queries. They need no
    non-maximum suppression, but a network that has learned only briefly sends several queries to one object, so it is done as for any
    other family, within a class; `settings.nms_iou` 1 leaves it out. Spread, features and masks follow each box through it.
    """
    corners = _corners(outputs[_BOXES], input_size)
    return [_decoded([output[image] for output in outputs], corners[image], input_size, settings) for image in range(len(corners))]


def _decoded(outputs: Sequence[np.ndarray], corners: np.ndarray, input_size: tuple[int, int], settings: Prediction) -> Detections:
    """Of one image, from its part of each output."""
    scores = _sigmoid(outputs[_LOGITS])
    query, label = _candidates(scores, settings.min_confidence)
    clipped = np.clip(corners[query], 0, _scale(input_size))
    found = Detections(clipped, scores[query, label], label, scores[query])
    keep = detections.nms(found.xyxy, found.confidence, found.class_id, settings.nms_iou, settings.max_detections)
    found, query = found[keep], query[keep]
    return replace(
        found,
        spread=_spread(outputs, query, input_size) if len(outputs) > _SAMPLED_BOXES else None,
        features=outputs[_FEATURES][query] if len(outputs) > _FEATURES else None,
        masks=_masks(outputs[_MASKS][query], input_size) if len(outputs) > _MASKS else None,
    )


def _candidates(scores: np.ndarray, min_confidence: float) -> tuple[np.ndarray, np.ndarray]:
    query, label = np.nonzero(scores > min_confidence)
    best = np.argsort(-scores[query, label], kind="stable")[:_BEFORE_NMS]
    return query[best], label[best]


def _spread(outputs: Sequence[np.ndarray], query: np.ndarray, input_size: tuple[int, int]) -> Spread:
    corners = _corners(outputs[_SAMPLED_BOXES][:, query], input_size)
    aleatoric = np.exp(outputs[_LOG_STDS][query]) * _scale(input_size)
    return sampled(_sigmoid(outputs[_SAMPLED_LOGITS][:, query]), corners, aleatoric)


def _masks(logits: np.ndarray, input_size: tuple[int, int]) -> Masks:
    """Each grid (h, w) lies over the whole input."""
    frame = np.array([0, 0, *input_size], np.float32)
    return Masks(_sigmoid(logits), np.repeat(frame[None], len(logits), 0))


def _corners(boxes: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """From centre, width and height (…, 4) as shares of the input to corners in its pixels."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.asarray(np.concatenate([centre - half, centre + half], -1) * _scale(input_size))


def _scale(input_size: tuple[int, int]) -> np.ndarray:
    """Width, height, width, height."""
    return np.array([*input_size, *input_size], np.float32)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # by way of tanh it cannot overflow
    return 0.5 + 0.5 * np.tanh(0.5 * logits)
