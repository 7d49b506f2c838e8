"""Entropy-based non-maximum suppression and diverse prototypes: twice the same object is worth once, in an image and among images.

Entropy-based Active Learning for Object Detection with Progressive Diversity Constraint (Wu, Chen and Huang, CVPR 2022). Ours: the share
for images of minority classes holds of every prefix instead of being filled first, since people take from the head what they like.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainer.query.diversity import Chosen
from trainer.query.objects import Objects, ObjectsOf, of_length_one

T_ENMS = 0.5
T_INTRA = 0.7
T_INTER = 0.3
ALPHA = 0.5
"""This share of the classes, the rarest among the labelled boxes, are minority classes."""
BETA = 0.75
"""This share of the chosen images holds an object of a minority class, as long as there are any."""
CANDIDATES = 10
"""So many times the images to choose, the most uncertain, are compared."""
_AT_A_TIME = 1024


def entropy_nms(objects: Objects, threshold: float = T_ENMS) -> np.ndarray:
    """Which objects stay, (B,) bool: of two of one class and image whose features have a larger cosine, the one of less entropy goes.

    Greedy, the largest entropy first; of equal ones the first stays.
    """
    images = np.arange(len(objects))
    parts = (images[start : start + _AT_A_TIME] for start in range(0, len(objects), _AT_A_TIME))
    return np.concatenate([np.zeros(0, bool), *(_stays(objects.at(part), threshold) for part in parts)])


def image_entropy(objects: Objects, stays: np.ndarray) -> np.ndarray:
    """Uncertainty of each image in bits, (N,): the entropies of its objects that stay, summed; 0 without any."""
    return _per_image(objects, objects.entropy * stays)


def diverse_prototypes(scores: np.ndarray, objects_of: ObjectsOf, labelled_boxes: Mapping[str, int], count: int) -> Chosen:
    """Choose up to `count` of N images by falling uncertainty (N,), passing over those whose every class looks like a chosen image's.

    `labelled_boxes` counts the labelled boxes of each class. The most uncertain `CANDIDATES` times `count` are looked at, equal ones by
    index. What was passed over comes by its score, which is its `worth`.
    """
    candidates = np.argsort(-scores, kind="stable")[: CANDIDATES * count]
    objects = objects_of(candidates)
    has_minority = _has_minority(objects, _minority(labelled_boxes, objects.classes))
    queues: list[list[int]] = [np.flatnonzero(kind).tolist() for kind in (has_minority, ~has_minority)]
    chosen, known = np.zeros(2, np.int64), _Prototypes(objects, entropy_nms(objects))
    first: list[int] = []
    while len(first) < count and any(queues):
        kind = int(bool(queues[1]) and (not queues[0] or _may_be_other(chosen, queues)))
        place = queues[kind].pop(0)
        if known.take_if_new(place):
            first.append(place)
            chosen[kind] += 1
    return Chosen(candidates[first], scores)


def _stays(objects: Objects, threshold: float) -> np.ndarray:
    """All images at once, their objects side by side: first the surest to stay of each, then the next."""
    row, column = _image_of(objects), np.arange(len(objects.confidence)) - np.repeat(objects.offsets[:-1], np.diff(objects.offsets))
    by_entropy = np.lexsort((column, -objects.entropy, row))
    features = _side_by_side(objects, of_length_one(objects.features)[by_entropy], 0)
    class_id = _side_by_side(objects, objects.class_id[by_entropy], -1)
    alike = (features @ features.transpose(0, 2, 1) > threshold) & (class_id[:, :, None] == class_id[:, None])
    alive = class_id >= 0
    for place in range(alive.shape[1]):
        later = np.arange(alive.shape[1]) > place
        alive &= ~(alike[:, place] & alive[:, place, None] & later)
    stays = np.zeros(len(objects.confidence), bool)
    stays[by_entropy] = alive[row, column]
    return stays


def _side_by_side(objects: Objects, values: np.ndarray, nothing: int) -> np.ndarray:
    """(N, most objects of an image, …), `nothing` where an image has fewer."""
    sizes = np.diff(objects.offsets)
    found = np.full((len(objects), int(sizes.max(initial=0)), *values.shape[1:]), nothing, values.dtype)
    found[np.arange(found.shape[1]) < sizes[:, None]] = values
    return found


def _image_of(objects: Objects) -> np.ndarray:
    return np.repeat(np.arange(len(objects)), np.diff(objects.offsets))


def _per_image(objects: Objects, values: np.ndarray) -> np.ndarray:
    return np.bincount(_image_of(objects), values, len(objects)).astype(np.float64)


def _minority(labelled_boxes: Mapping[str, int], classes: Sequence[str]) -> Sequence[int]:
    return sorted(range(len(classes)), key=lambda label: labelled_boxes.get(classes[label], 0))[: int(ALPHA * len(classes))]


def _has_minority(objects: Objects, minority: Sequence[int]) -> np.ndarray:
    return _per_image(objects, np.isin(objects.class_id, minority) & (objects.confidence > T_INTER)) > 0


def _may_be_other(chosen: np.ndarray, queues: Sequence[Sequence[int]]) -> bool:
    """Whether the next image may be without a minority class: the more uncertain of both, as long as the share of the others allows."""
    return bool(queues[1][0] < queues[0][0] and chosen[1] + 1 <= (1 - BETA) * (chosen.sum() + 1))


@dataclass(slots=True, eq=False)
class _Prototypes:
    """The prototypes of the images chosen so far: of each class the mean of an image's features, weighted by entropy."""

    objects: Objects
    stays: np.ndarray
    _chosen: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def take_if_new(self, image: int) -> bool:
        """Whether some class of the image has no chosen prototype that is as alike as `T_INTRA`; then the image's become chosen ones."""
        found = self._of_image(image)
        if found and min(self._most_alike(label, prototype) for label, prototype in found.items()) > T_INTRA:
            return False
        for label, prototype in found.items():
            self._chosen.setdefault(label, []).append(prototype)
        return True

    def _of_image(self, image: int) -> dict[int, np.ndarray]:
        rows = self.objects.of_image(image)
        features, label = self.objects.features[rows].astype(np.float32), self.objects.class_id[rows]
        weight = self.objects.entropy[rows] * self.stays[rows]
        sums = {int(one): weight[label == one] @ features[label == one] for one in np.unique(label)}
        return {one: of_length_one(total[None])[0] for one, total in sums.items() if total.any()}

    def _most_alike(self, label: int, prototype: np.ndarray) -> float:
        known = self._chosen.get(label)
        return float((np.stack(known) @ prototype).max()) if known else -1.0
