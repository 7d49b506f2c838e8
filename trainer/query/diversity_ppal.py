"""PPAL: first how unsure the model is, and more so of classes it finds hard; then images whose objects differ.

Plug and Play Active Learning for Object Detection (Yang, Huang and Crowley, CVPR 2024). Two things are ours: the difficulty of a class
is measured once, on the labelled images with the model at hand, where the paper averages over the steps of training; and the clusters
come in the order in which their first centres were drawn, so that any number of images from the head are as different as can be.
"""

import math
from collections.abc import Mapping

import numpy as np

from trainer.query import diversity
from trainer.query.diversity import Chosen
from trainer.query.objects import Objects, ObjectsOf, of_length_one

DELTA = 4
"""So many times the images to choose go into the second stage."""
MOST_OBJECTS = 15
"""So many objects of an image, the most confident, are compared: the comparison takes time with their square."""

_XI = 0.6
_ALPHA = 0.3
_BETA = 0.2
_ROUNDS = 100
_UNLIKE = -1.0
"""How alike an object is to an image without any object of its class."""


def difficulty(confidence: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """How hard each object was, 0..1: 1 - p^0.6 · IoU^0.4, from the score p of its class and the overlap of the box found for it.

    An object that was not found has p = 0, so it is 1.
    """
    p, overlap = np.clip(confidence, 0, 1), np.clip(iou, 0, 1)
    return np.asarray(1 - p**_XI * overlap ** (1 - _XI))


def class_weight(mean_difficulty: float) -> float:
    """What an uncertainty counts for a class of that mean difficulty 0..1: from 1 to 1.2, rising fast at first."""
    gamma = math.exp(1 / _ALPHA) - 1
    return 1 + _ALPHA * _BETA * math.log1p(gamma * mean_difficulty)


def class_weights(mean_difficulty: Mapping[str, float], classes: tuple[str, ...]) -> np.ndarray:
    """(C,) of the classes in their order; a class that nobody labelled yet is as hard as can be."""
    return np.array([class_weight(mean_difficulty.get(name, 1.0)) for name in classes])


def ppal(scores: np.ndarray, objects_of: ObjectsOf, count: int, seed: int) -> Chosen:
    """Choose `count` of N images by their uncertainty (N,), higher is less sure, and by what is in them.

    The most uncertain `DELTA` times `count` are compared, as `diversity.of_most_uncertain` does it. `worth` is the uncertainty.
    """

    def choose(candidates: np.ndarray, most: int) -> Chosen:
        distances = matching_distances(objects_of(candidates).first(MOST_OBJECTS))
        return Chosen(k_medoids(distances, most, np.random.default_rng(seed)), scores[candidates])

    return diversity.of_most_uncertain(scores, choose, count, DELTA)


def matching_distances(objects: Objects) -> np.ndarray:
    """Category-conditioned matching distance (N, N) float32, symmetric, 0 to 2, of every image to every other; 0 on the diagonal.

    Each object of one image is matched with the most alike object of its class in the other, by the cosine of their features; an image's
    likeness is the mean weighted by confidence, and 1 less it the distance. It is 2 to an image without such classes, or objects.
    """
    likeness = _weighted_likeness(objects)
    distances = 1 - (likeness + likeness.T) / 2
    np.fill_diagonal(distances, 0)
    return np.asarray(np.clip(distances, 0, 2))


def k_medoids(distances: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Cluster by distances (N, N) and return the middle image of each of `count` clusters, each once.

    The first centre is drawn, every further one is the farthest from all before. Then in turn each image goes to its nearest centre, and
    each cluster's image of the least summed distance becomes its centre, until nothing changes. Ties go to the lower index.
    """
    if not len(distances):
        return np.zeros(0, np.int64)
    centres = _farthest_first(distances, min(count, len(distances)), int(generator.integers(len(distances))))
    for _ in range(_ROUNDS):
        nearest = distances[:, centres].argmin(1)
        # a centre is its own, whatever lies at distance 0 of it
        nearest[centres] = np.arange(len(centres))
        moved = np.array([_middle(distances, np.flatnonzero(nearest == cluster)) for cluster in range(len(centres))])
        if (moved == centres).all():
            break
        centres = moved
    return centres


def _weighted_likeness(objects: Objects) -> np.ndarray:
    """(N, N) float32: how well the objects of the first image are matched in the second, mean by confidence."""
    images = len(objects)
    total = np.bincount(_image_of(objects), objects.confidence, images)
    likeness = np.zeros((images, images), np.float32)
    for label in np.unique(objects.class_id):
        _add_class(objects, np.flatnonzero(objects.class_id == label), likeness)
    found = np.divide(likeness, total[:, None], out=np.full_like(likeness, _UNLIKE), where=total[:, None] > 0)
    return np.asarray(found, np.float32)


def _image_of(objects: Objects) -> np.ndarray:
    return np.repeat(np.arange(len(objects)), np.diff(objects.offsets))


def _add_class(objects: Objects, rows: np.ndarray, likeness: np.ndarray) -> None:
    features, weight, image = of_length_one(objects.features[rows]), objects.confidence[rows], _image_of(objects)[rows]
    holders, starts = np.unique(image, return_index=True)
    for start in range(0, len(rows), 256):
        part = slice(start, start + 256)
        best = np.full((len(features[part]), len(objects)), _UNLIKE, np.float32)
        best[:, holders] = np.maximum.reduceat(features[part] @ features.T, starts, axis=1)
        own, starts_of_own = np.unique(image[part], return_index=True)
        likeness[own] += np.add.reduceat(best * weight[part, None], starts_of_own, axis=0)


def _farthest_first(distances: np.ndarray, count: int, first: int) -> np.ndarray:
    centres, nearest = [first], distances[first].copy()
    while len(centres) < count:
        nearest[centres] = -1
        centres.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances[centres[-1]])
    return np.array(centres, np.int64)


def _middle(distances: np.ndarray, members: np.ndarray) -> int:
    return int(members[distances[np.ix_(members, members)].sum(1).argmin()])
