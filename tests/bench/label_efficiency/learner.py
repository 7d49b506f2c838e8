"""From labelled images to a model's figures on the test split and its predictions of the pool, kept in files.

Rule: what is kept is named after everything it is made of - data, settings, seed, labelled images, the model it started from, code - so a
run that was killed goes on where it was, and strategies that have labelled the same images share one training.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import trainer
from activelearning import table
from activelearning.labels import ImageLabels
from activelearning.settings import Settings
from tests.bench.label_efficiency.data import Dataset
from trainer import detectors, drafts, recipe, shard_features, training, weights
from trainer.assessment import for_evaluation
from trainer.evaluation import evaluate
from trainer.export import export
from trainer.ground_truth import example
from trainer.predictor import Failed, Predictor
from trainer.shard_features import ShardFeatures
from trainer.weights import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """A model: what it is kept under, its figures, what it finds in every image of the pool, labelled or not, from the prediction threshold
    up, and how these images look to it."""

    key: str
    ap: float
    ap50: float
    ap_by_class: Mapping[str, float]
    iterations: int
    pool: Mapping[str, ImageLabels]
    features: ShardFeatures


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """Trains on some images of a dataset, or finds that it has done so. `mirror`: predictions tell how consistent they are."""

    dataset: Dataset
    settings: Settings
    kept_in: Path
    mirror: bool = False

    def learn(self, labelled: Sequence[int], seed: int, before: str = "") -> Learnt:
        """Train on these places of the dataset, from the model kept under `before` or from scratch; evaluate and predict."""
        key = self._key(labelled, seed, before)
        if not self._file(key, "json").exists():
            # last, for where it is everything is
            _write(self._file(key, "json"), json.dumps(self._make(key, labelled, seed, before)).encode())
        pool = table.read_labels(self._file(key, "csv").read_text("utf-8"), f"{key}.csv").images
        features = shard_features.decode(self._file(key, "npz").read_bytes(), f"{key}.npz", self.dataset.classes)
        figures = json.loads(self._file(key, "json").read_text("utf-8"))
        return Learnt(key, **figures, pool={one.image: one for one in pool}, features=features)

    def _key(self, labelled: Sequence[int], seed: int, before: str) -> str:
        settings = self.settings
        made_of = (self.dataset.fingerprint, *(asdict(part) for part in (settings.training, settings.detector, settings.prediction)))
        return hashlib.sha256(repr((made_of, seed, sorted(labelled), before, self.mirror, _code())).encode()).hexdigest()[:20]

    def _file(self, key: str, suffix: str) -> Path:
        return self.kept_in / f"{key}.{suffix}"

    def _make(self, key: str, labelled: Sequence[int], seed: int, before: str) -> dict[str, Any]:
        model, iterations = self._train(labelled, seed, before)
        family = self.settings.detector.family
        _write(self._file(key, "pt"), weights.weights_of(model, family, self.dataset.classes).to_bytes())
        onnx = export(model, family, self.dataset.input_size)
        self._predict(key, onnx)
        return self._figures(onnx) | {"iterations": iterations}

    def _train(self, labelled: Sequence[int], seed: int, before: str) -> tuple[nn.Module, int]:
        """The model, and how many steps it took."""
        settings, data = self.settings, self.dataset
        family, likelihood = settings.detector.family, settings.detector.box_likelihood
        model = detectors.build(family, len(data.classes), seed, likelihood)
        if before:
            last = Weights.from_bytes(self._file(before, "pt").read_bytes())
            weights.warm_start(model, last, family, data.classes)
        config = replace(settings.training, seed=seed * 1000 + len(labelled), threads=1, checkpoint_every=10_000_000)
        steps: list[int] = []
        trained = training.train(
            model,
            [example(data.images[index], data.truth[index]) for index in sorted(labelled)],
            config,
            recipe.plan(config, detectors.family(family).recipe, warm=bool(before)),
            on_progress=lambda progress: steps.append(progress.iteration),
        )
        return trained, len(steps)

    def _predict(self, key: str, onnx: bytes) -> None:
        data, settings = self.dataset, self.settings
        predictor = Predictor(onnx, settings.detector.family, settings.prediction, threads=1, mirror=self.mirror)
        found = list(predictor.predict((data.names[index], data.folder / data.names[index]) for index in data.pool))
        if failed := next((one for one in found if isinstance(one, Failed)), None):
            raise SystemExit(f"{failed.name}: {failed.reason}")
        whole = [one for one in found if not isinstance(one, Failed)]
        _write(self._file(key, "csv"), table.table_bytes(drafts.image_labels(one, data.classes) for one in whole))
        _write(self._file(key, "npz"), shard_features.encode(shard_features.of_predicted(whole, True)))

    def _figures(self, onnx: bytes) -> dict[str, Any]:
        data, settings = self.dataset, self.settings
        predictor = Predictor(onnx, settings.detector.family, replace(for_evaluation(settings.prediction), mc_samples=1), threads=1)
        found = [predictor.detect(data.images[index]) for index in data.test]
        metrics = evaluate([data.truth[index] for index in data.test], found, data.classes)
        by_class = {name: round(metrics.value("ap", name) or 0.0, 5) for name in data.classes}
        return {name: round(metrics.value(name) or 0.0, 5) for name in ("ap", "ap50")} | {"ap_by_class": by_class}


def _write(path: Path, content: bytes) -> None:
    """A file that is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    partial.write_bytes(content)
    partial.replace(path)


def _code() -> str:
    """Of all code that a model and its figures may be made of; too much of it costs a training, too little a wrong figure."""
    files = sorted(Path(trainer.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def one_thread() -> None:
    """Every process trains on a core of its own."""
    torch.set_num_threads(1)
