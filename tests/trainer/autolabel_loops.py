"""Projects on drawn scenes that accept by themselves, with a model that has learned to find squares and bars, for the tests of that."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from activelearning import commits, labelled, layout, project_file, table
from activelearning.autolabels import Record, labels, read
from activelearning.commits import Commit
from activelearning.errors import BlobExists
from activelearning.labels import ImageLabels
from activelearning.settings import Autolabel, Drafts, Policy, Prediction, Settings, Training
from activelearning.settings import TestSplit as Split
from activelearning.state import Job
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer import loops, scenes
from tests.trainer.loops import World
from trainer import weights
from trainer.work import Work

LEARNED, TEST, POOL = range(8), range(8, 28), range(28, 64)
"""The scenes that the model was trained on, those of the test split, and those that nobody has reviewed."""
ODD = 'čam, "2"/IMG\'s é.png'
LONG_AGO = "accepted/and/learned/by/the/model/before.png"
"""An image that the model started from, and is in no set any more."""
ASKED = Autolabel(precision=0.8, confidence=0.9, max_missed=0.3, audit_share=0.25, train_share=1.0)
SETTINGS = Settings(
    scenes.CLASSES,
    detector=loops.SETTINGS.detector,
    training=Training(iterations=4, warm_iterations=4, batch_size=4, threads=1),
    policy=Policy(quiet_seconds=1.0, report=False),
    drafts=Drafts(min_confidence=0.4),
    prediction=Prediction(mc_samples=1),
    test=Split(percentage=0.0),
    autolabel=ASKED,
)


def begun(url: str = "memory:", settings: Settings = SETTINGS) -> World:
    """A project before its first turn, which finds the model trained; people have reviewed what that was trained on."""
    clock = Clock()
    world = World(open_store(url, clock), clock)
    loops.make(world.store, clock, POOL.stop, settings)
    world.store.images.create(ODD, loops.png(99))
    labelled.join_test(world.store.labels, truths(TEST))
    give_model(world.store, "main/1")
    loops.hand_in(world.store, "b1", LEARNED)
    return world


def turned(url: str = "memory:", settings: Settings = SETTINGS) -> World:
    """The same after that turn."""
    world = begun(url, settings)
    world.settle()
    return world


def give_model(store: Store, run: str) -> None:
    """Leave what an attempt that was killed after training leaves of a run."""
    model = weights.weights_of(scenes.trained(), "compact", scenes.CLASSES)
    store.labels.create(layout.model(run, "model.onnx"), scenes.onnx())
    store.labels.create(layout.model(run, "weights.pt"), model.to_bytes())
    store.labels.create(layout.trained_images(run), "\n".join([*map(loops.name, LEARNED), LONG_AGO]).encode())


def truths(seeds: Iterable[int]) -> list[ImageLabels]:
    """What people say of these scenes."""
    return [loops.truth(seed, loops.name(seed)) for seed in seeds]


def unlike(found: ImageLabels) -> ImageLabels:
    """A review in which every box has moved away."""
    boxes = (replace(box, xmin=0.0, ymin=0.0, xmax=0.01, ymax=0.01, source="human", confidence=None, measures=()) for box in found.boxes)
    return replace(found, boxes=tuple(boxes), review=loops.truth(0, "x").review)


def seed_of(image: str) -> int:
    """The inverse of `loops.name`, and of the odd one."""
    return 99 if image == ODD else 2 * int(image[-7:-4]) + int(image[4])


def hand_in(store: Store, batch: str, reviews: Iterable[ImageLabels]) -> None:
    """A reviewed upload of these labels."""
    with suppress(BlobExists):
        store.labels.create(layout.batch_reviewed(batch), table.table_bytes(reviews))


def current(store: Store) -> tuple[Commit, Record]:
    """The current commit and its division."""
    commit = commits.latest(store.labels)
    assert commit is not None
    record = read(store.labels, commit.autolabelled)
    assert record is not None
    return commit, record


def accepted(store: Store) -> tuple[set[str], set[str]]:
    """The accepted images that nobody need see, and the audits."""
    commit, record = current(store)
    names = {found.image for found in labels(store.labels, commit.autolabelled)}
    audits = {name for name in names if record.is_audit(name)}
    return names - audits, audits


def listed(store: Store) -> list[str]:
    """The images of the current totag in their order."""
    commit = commits.latest(store.labels)
    assert commit is not None
    return loops.listed(store, commit.totag)


def change_settings(store: Store, settings: Settings) -> None:
    """Edit project.toml."""
    store.labels.replace(layout.PROJECT, project_file.render_project(settings).encode(), store.labels.read(layout.PROJECT).etag)


def work_on(world: World, settings: Settings = SETTINGS) -> Work:
    """What a job of the next run is done with."""
    return Work(world.store, settings, Job("train-x", "train", "main/2", 2), world.told.append, world.clock)
