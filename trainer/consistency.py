"""Whether a model finds the same in an image and in its mirror image.

Consistency-based Active Learning for Object Detection (Yu et al., CVPR workshops 2022), with the horizontal flip as the only change to
the image. What a detector with a sigmoid a class says is made a distribution over the classes and the background, which is 1 less the
best class.
"""

from dataclasses import replace

import numpy as np

from trainer import detections
from trainer.detections import Detections

MOST = 2.0
"""The consistency of a box that is found again exactly, with full confidence."""


def mirrored(found: Detections, width: float) -> Detections:
    """What was found in the mirror image of one so wide, in the pixels of the image itself."""

    def mirror(corners: np.ndarray) -> np.ndarray:
        left, top, right, bottom = corners.T
        return np.stack([width - right, top, width - left, bottom], 1)

    # masks are not compared, and their grids would have to be mirrored too
    return replace(found, masks=None).moved(mirror, (np.inf, np.inf))


def consistency(found: Detections, again: Detections) -> np.ndarray:
    """How consistent each of N boxes is, (N,) float32, 0 to `MOST`: IoU + (best score + best score again) / 2 · (1 - JS).

    It is compared with the box of `again` that overlaps it most, the first of equal ones; JS is the Jensen-Shannon divergence, in bits, of
    the two distributions over classes. 0 where nothing overlaps.
    """
    if not len(found) or not len(again):
        return np.zeros(len(found), np.float32)
    overlap = detections.box_iou(found.xyxy, again.xyxy)
    partner = overlap.argmax(1)
    before, after = found.class_scores, again.class_scores[partner]
    agreement = (before.max(1) + after.max(1)) / 2 * (1 - jensen_shannon(_distribution(before), _distribution(after)))
    values = overlap.max(1) + agreement
    return np.where(overlap.max(1) > 0, values, 0).astype(np.float32)


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of distributions (N, C) row by row, (N,), in bits, 0 to 1."""
    middle = (first + second) / 2
    return np.asarray(((_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2).clip(0, 1))


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    terms = p * np.log2(np.divide(p, q, out=np.ones_like(p), where=p > 0))
    return np.asarray(terms.sum(1))


def _distribution(scores: np.ndarray) -> np.ndarray:
    every = np.concatenate([scores, 1 - scores.max(1, keepdims=True)], 1).clip(0, 1).astype(np.float64)
    return np.asarray(every / every.sum(1, keepdims=True))
