"""Several looks at the same pixels, in mirror images, made one answer.

Rule: what a look tells of a box beside where it is and how sure (its spread, features, mask) is that of the most confident look at it.

Weighted boxes fusion (Solovyev, Wang and Gabruseva 2021): boxes are means weighted by confidence; a confidence is the mean, less where
not every look found the box.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from trainer import detections, spread
from trainer.detections import Detections
from trainer.masks import Masks
from trainer.spread import Spread

FUSED_IOU = 0.55
"""Boxes of one class that overlap more are one object to several looks (the paper's)."""


def flipped(found: Detections, axes: tuple[int, ...], size: tuple[int, int]) -> Detections:
    """What was found in a mirror image of `size` (w, h), whose `axes` of (H, W) were reversed, where it is in the image itself."""
    if not axes:
        return found
    order = np.arange(4)
    sign, offset = np.ones(4, np.float32), np.zeros(4, np.float32)
    for axis in axes:
        along = [1 - axis, 3 - axis]
        order[along] = order[along[::-1]]
        sign[along], offset[along] = -1, size[1 - axis]

    def mirror(corners: np.ndarray) -> np.ndarray:
        return np.asarray(corners[:, order] * sign + offset, np.float32)

    masks = found.masks
    if isinstance(masks, Masks):
        grids = np.ascontiguousarray(np.flip(masks.grids, tuple(axis + 1 for axis in axes)))
        masks = Masks(grids, mirror(masks.frames))
    return replace(found, xyxy=mirror(found.xyxy), spread=found.spread and _reordered(found.spread, order), masks=masks)


def _reordered(found: Spread, order: np.ndarray) -> Spread:
    return replace(found, aleatoric=found.aleatoric[:, order], epistemic=found.epistemic[:, order])


def fused(looks: Sequence[Detections], limit: int) -> Detections:
    """Weighted boxes fusion of several looks at the same pixels, most confident first, at most `limit` boxes.

    Boxes are taken in the order of confidence, equal ones look by look; each joins the fused box of its class that overlaps it most, if by
    more than `FUSED_IOU`, or begins a new one. Class scores are fused as confidences are.
    """
    if len(looks) == 1:
        return looks[0]
    every = joined(looks)
    every = every[np.argsort(-every.confidence, kind="stable")]
    clusters = _clusters(every)
    if not clusters:
        return every
    shares = [min(len(members), len(looks)) / len(looks) / len(members) for members in clusters]
    scores = np.stack([every.class_scores[members].sum(0) * share for members, share in zip(clusters, shares, strict=True)])
    confidence = np.array([every.confidence[members].sum() * share for members, share in zip(clusters, shares, strict=True)])
    leads = every[np.array([members[0] for members in clusters])]
    made = replace(
        leads,
        xyxy=np.stack([_mean_box(every, members) for members in clusters]).astype(np.float32),
        confidence=confidence.astype(np.float32),
        class_scores=scores.astype(np.float32),
    )
    return made[np.argsort(-made.confidence, kind="stable")[:limit]]


def joined(parts: Sequence[Detections]) -> Detections:
    """The detections of several looks in one value; what not every look tells is left out. At least one part, all of the same classes."""
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(Detections)):
        several = [getattr(part, name) for part in parts]
        values[name] = None if any(value is None for value in several) else _joined(several)
    return Detections(**values)


def _joined(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Spread):
        return spread.concatenate(values)
    if isinstance(values[0], Masks):
        return Masks(np.concatenate([one.grids for one in values]), np.concatenate([one.frames for one in values]))
    return np.concatenate(values)


def _clusters(every: Detections) -> list[list[int]]:
    clusters: list[list[int]] = []
    boxes = np.zeros((len(every), 4), np.float32)
    for index in range(len(every)):
        overlap = detections.box_iou(every.xyxy[index : index + 1], boxes[: len(clusters)])[0]
        classes = np.array([every.class_id[members[0]] for members in clusters], np.int64)
        overlap = np.where(classes == every.class_id[index], overlap, 0)
        best = int(overlap.argmax()) if len(overlap) else -1
        if best >= 0 and overlap[best] > FUSED_IOU:
            clusters[best].append(index)
        else:
            best = len(clusters)
            clusters.append([index])
        boxes[best] = _mean_box(every, clusters[best])
    return clusters


def _mean_box(every: Detections, members: list[int]) -> np.ndarray:
    weights = every.confidence[members].astype(np.float64)
    # boxes without any confidence count alike
    weights = weights if weights.sum() > 0 else np.ones_like(weights)
    return np.asarray(np.average(every.xyxy[members], 0, weights))
