"""What a run's model starts from: the last model, published weights, or nothing but its seed.

Rule: what it was is noted beside the model, once, and handed on by the models that start from it: a licence does not end with a retrain.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from torch import nn

from activelearning import layout
from activelearning.commits import Commit
from activelearning.errors import BlobExists, BlobMissing
from activelearning.store import Blobs
from trainer import detectors, pretrained, weights
from trainer.pretrained import Pretrained
from trainer.weights import Weights
from trainer.work import Work

Fits = Callable[[str], bool]
"""Whether a run's model may be started from: it knows no image that it would be tested on."""


def start(work: Work, parent: Commit | None, fits: Fits) -> tuple[nn.Module, bool]:
    """The model that training begins with, and whether it is the last one's.

    Raises `UserError` when the weights that the project names cannot be had, or do not fit the family.
    """
    settings = work.settings
    family, classes, likelihood = settings.detector.family, settings.classes, settings.detector.box_likelihood
    seed = settings.training.seed
    last = _last(work, parent, fits) if parent and parent.model and settings.training.warm_iterations else None
    if parent and last:
        model = detectors.build(family, len(classes), seed, likelihood, architecture=last.architecture)
        work.tell(weights.warm_start(model, last, family, classes))
        _note(work, {**read(work.store.labels, parent.model), "warm_start_from": parent.model})
        return model, True
    with pretrained.fetched(settings.detector, detectors.family(family), work.store.labels) as found:
        _note(work, _asked(work) | {"warm_start_from": ""} | (_told(found) if found else {}))
        work.tell(_said(found))
        path = found.path if found else None
        return detectors.build(family, len(classes), seed, likelihood, tiny=settings.detector.tiny, pretrained=path), False


def read(blobs: Blobs, run: str) -> dict[str, Any]:
    """What a run's model started from, for its card: `warm_start_from` another run, if it did; `source`, `sha256` and `licence` of the
    published weights that it or one before it started from, if any. Empty for a model of before this was noted."""
    try:
        found: dict[str, Any] = json.loads(blobs.read(_name(run)).content)
    except BlobMissing:
        return {}
    return found


def _name(run: str) -> str:
    return layout.model(run, "start.json")


def _note(work: Work, start: Mapping[str, Any]) -> None:
    with suppress(BlobExists):
        work.store.labels.create(_name(work.job.run), json.dumps(start, indent=1, ensure_ascii=False).encode())


def _asked(work: Work) -> dict[str, Any]:
    """What the project asks to start from."""
    return {"weights": work.settings.detector.weights, "tiny": work.settings.detector.tiny}


def _told(found: Pretrained) -> dict[str, Any]:
    return {"source": found.source, "sha256": found.sha256, "licence": found.licence}


def _said(found: Pretrained | None) -> str:
    return f"starting from {found.source}, licence {found.licence}" if found else "starting from scratch"


def _last(work: Work, parent: Commit, fits: Fits) -> Weights | None:
    """The last model's weights; None, and the reason told, where this run's cannot go on from them."""
    before = read(work.store.labels, parent.model)
    if not fits(parent.model):
        reason = "images that the last model was trained on are in the test split now, so this one does not start from it"
    elif before and {key: before.get(key) for key in _asked(work)} != _asked(work):
        reason = "detector.weights or detector.tiny changed since the last model, so this one does not start from it"
    elif not work.store.labels.exists(layout.model(parent.model, "weights.pt")):
        reason = "the last model has no weights, as the program that trained it left none, so this one does not start from it"
    else:
        last = Weights.from_bytes(work.store.labels.read(layout.model(parent.model, "weights.pt")).content)
        if last.family == work.settings.detector.family:
            return last
        reason = f"the last model is of family '{last.family}', so this one does not start from it"
    work.tell(reason)
    return None
