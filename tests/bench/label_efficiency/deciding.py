"""What the loop decides between two trainings: which images come next, and which of the model's boxes are drafts.

Rule: it goes through the loop's own functions, and knows what the loop knows. Draft thresholds are learned from the last returned batch
alone, whose images the model before had not seen; the test split, which the figures are of, teaches nothing here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from activelearning import claims, draft_rules
from activelearning.cost import model
from activelearning.draft_rules import DraftRules
from activelearning.labels import Box, ImageLabels
from activelearning.settings import Settings
from activelearning.store import open_store
from tests.bench.label_efficiency.data import Dataset
from tests.bench.label_efficiency.learner import Learnt
from trainer import draft_evidence, draft_thresholds, labelled_features, totag
from trainer.detections import Detections
from trainer.judged import judge
from trainer.query import cost, near_duplicates, sequences
from trainer.query.candidates import Candidates
from trainer.query.registry import in_force
from trainer.query.strategy import Extra

_LEAST_OBJECTS = draft_thresholds.LEAST_OBJECTS
_TOTAG = "totag/main/1.csv"


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The current model, and the rules of its drafts."""

    learnt: Learnt
    rules: DraftRules


def rules_after(dataset: Dataset, settings: Settings, last: Learnt | None, returned: Sequence[int]) -> DraftRules:
    """Which drafts pay, as the boxes tell that the `last` model found in the images that have just been `returned`.

    The project's fixed confidence where there was no model, or too few objects.
    """
    fixed = draft_rules.fixed(settings.drafts.min_confidence)
    if last is None or not settings.drafts.learned or sum(len(dataset.labels[place].boxes) for place in returned) < _LEAST_OBJECTS:
        return fixed
    found = [_detections(last.pool[dataset.names[place]], dataset) for place in returned]
    judged = judge(found, [dataset.truth[place] for place in returned], len(dataset.classes))
    seen = draft_evidence.evidence(judged, [dataset.images[place].size for place in returned], dataset.classes)
    return draft_thresholds.choose(seen, model(settings.costs), dataset.classes, settings.drafts.min_confidence).rules


def choose(dataset: Dataset, settings: Settings, reviewed: Sequence[int], known: Known, count: int) -> tuple[int, ...]:
    """The next images, in the order of the totag that the loop would write."""
    blobs = open_store("memory:").labels
    names = {dataset.names[place] for place in reviewed}
    pool = (labels for image, labels in known.learnt.pool.items() if image not in names)
    totag.write(blobs, _TOTAG, pool, settings.selection, load=lambda candidates: _extra(dataset, settings, reviewed, known, candidates))
    place = {name: index for index, name in enumerate(dataset.names)}
    ordered = (place[group.labels.image] for group in claims.walk(blobs, _TOTAG))
    return tuple(index for index, _ in zip(ordered, range(count), strict=False))


def drafts(dataset: Dataset, chosen: Sequence[int], known: Known | None) -> Mapping[int, Sequence[Box]]:
    """The boxes that the annotator is shown in each image."""
    if known is None:
        return {}
    return {place: draft_rules.shown(known.learnt.pool[dataset.names[place]], known.rules).boxes for place in chosen}


def _extra(dataset: Dataset, settings: Settings, reviewed: Sequence[int], known: Known, candidates: Candidates) -> Extra:
    """All that a strategy may ask for."""
    features, bits, moments = known.learnt.features, settings.selection.near_duplicates, settings.selection.sequence_seconds
    row = {image: index for index, image in enumerate(features.images)}
    rows = np.array([row[image] for image in candidates.images])
    objects = features.objects.at(rows) if features.objects is not None else None
    names = [dataset.names[place] for place in reviewed]
    return Extra(
        embeddings=features.embeddings[rows],
        labelled_embeddings=features.embeddings[[row[name] for name in names]],
        objects=None if objects is None else objects.at,
        labelled_boxes=Counter(box.label for place in reviewed for box in dataset.labels[place].boxes),
        class_difficulty=_difficulty(dataset, reviewed, known.learnt),
        seconds=_seconds(settings, known, candidates),
        clusters=near_duplicates.clusters(features.hashes[rows], bits) if bits else None,
        bursts=sequences.bursts(candidates.images, features.taken[rows], moments) if moments else None,
    )


def _seconds(settings: Settings, known: Known, candidates: Candidates) -> np.ndarray | None:
    if not in_force(settings.selection).per_second:
        return None
    return cost.expected_seconds(candidates, settings.costs, known.rules, cost.by_probability(candidates))


def _difficulty(dataset: Dataset, reviewed: Sequence[int], learnt: Learnt) -> dict[str, float]:
    found = [_detections(learnt.pool[dataset.names[place]], dataset) for place in reviewed]
    values = labelled_features.class_difficulty(found, [dataset.truth[place] for place in reviewed], len(dataset.classes))
    return {name: float(value) for name, value in zip(dataset.classes, values, strict=True) if np.isfinite(value)}


def _detections(labels: ImageLabels, dataset: Dataset) -> Detections:
    """The boxes of a table as detections; of the class scores only the own class's is known."""
    label = np.array([dataset.classes.index(box.label) for box in labels.boxes], np.int64)
    score = np.array([box.confidence or 0.0 for box in labels.boxes], np.float32)
    corners = np.array([box.xyxy for box in labels.boxes]).reshape(-1, 4) * np.array([labels.width, labels.height] * 2)
    scores = np.zeros((len(label), len(dataset.classes)), np.float32)
    scores[np.arange(len(label)), label] = score
    return Detections(corners.astype(np.float32), score, label, scores)
