"""A small project of drawn scenes in a store, and a trainer for it, for the tests of whole turns."""

import io
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from PIL import Image

from activelearning import layout, project_file, steps, table
from activelearning.labels import ImageLabels, box_from_pixels
from activelearning.settings import Detector, Policy, Prediction, Settings, Training
from activelearning.settings import TestSplit as Split
from activelearning.store import Store
from tests.clock import Clock
from tests.trainer.scenes import CLASSES, SIZE, scene
from trainer.means import Means
from trainer.serve import Trainer

SETTINGS = Settings(
    CLASSES,
    detector=Detector(long_side=128),
    training=Training(iterations=9, warm_iterations=5, batch_size=4, checkpoint_every=4, threads=1),
    # a report takes longer than such a training
    policy=Policy(quiet_seconds=1.0, report=False),
    # so few iterations make no confident detector, but the tables must not be empty
    prediction=Prediction(min_confidence=0.001, max_detections=5),
    test=Split(percentage=0.25),
)


@dataclass(slots=True)
class World:
    """A store with its clock, and trainers one after the other."""

    store: Store
    clock: Clock
    told: list[str] = field(default_factory=list)
    means: Means = field(default_factory=Means)
    _numbers: Iterable[int] = field(default_factory=itertools.count)

    def settle(self) -> None:
        """Let functions and trainer do everything that is due."""
        self.clock.later(steps.SWEEP_SECONDS)
        steps.tick(self.store, self.clock())
        self.clock.later(SETTINGS.policy.quiet_seconds)
        steps.tick(self.store, self.clock())
        while self.trainer(self.store).drain():
            self.clock.later(1)

    def trainer(self, store: Store) -> Trainer:
        """A new trainer process, so to say: another owner, the same clock."""
        number = next(iter(self._numbers))  # type: ignore[call-overload]
        return Trainer(store, self.told.append, owner=f"trainer-{number}", clock=self.clock, means=self.means)


def png(seed: int) -> bytes:
    """A drawn scene as an image file."""
    out = io.BytesIO()
    Image.fromarray(scene(seed).pixels).save(out, "PNG")
    return out.getvalue()


def truth(seed: int, image: str) -> ImageLabels:
    """What a person labels in the scene."""
    drawn = scene(seed)
    boxes = [box_from_pixels(CLASSES[label], tuple(map(float, xyxy)), *SIZE) for xyxy, label in zip(drawn.boxes, drawn.labels, strict=True)]
    return ImageLabels(image, *SIZE, tuple(boxes))


def name(seed: int) -> str:
    """The blob of a scene; file names repeat in the two folders."""
    return f"cam-{seed % 2}/IMG_{seed // 2:03d}.png"


def make(store: Store, clock: Callable[[], float], images: int = 12, settings: Settings = SETTINGS) -> None:
    """A project with so many scenes in its pool."""
    store.labels.create(layout.PROJECT, project_file.render_project(settings).encode())
    for seed in range(images):
        store.images.create(name(seed), png(seed))


def hand_in(store: Store, batch: str, seeds: Iterable[int]) -> str:
    """A reviewed upload of these scenes; its event is lost, the sweep must find it."""
    upload = layout.batch_reviewed(batch)
    store.labels.create(upload, table.table_bytes(truth(seed, name(seed)) for seed in seeds))
    for message in store.queues.receive(layout.REVIEWED_QUEUE, 60, 32):
        store.queues.delete(layout.REVIEWED_QUEUE, message)
    return upload


def listed(store: Store, totag: str) -> list[str]:
    """The images of a totag in their order."""
    return [labels.image for labels in table.read_labels(store.labels.read(totag).content.decode(), totag).images]


def trained_on(store: Store, run: str) -> list[str]:
    """The uploads that a run's card names."""
    return list(json.loads(store.labels.read(layout.model(run, "model.json")).content)["uploads"])


def with_classes(classes: tuple[str, ...]) -> Settings:
    """The same project with other classes."""
    return replace(SETTINGS, classes=classes)
