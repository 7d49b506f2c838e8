"""What every job of the trainer has in common: where it works, how it tells of itself, the pool, the commit at its end."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from activelearning import jobs, journal, layout
from activelearning.commits import Commit
from activelearning.errors import BlobMissing, UserError
from activelearning.iterations import Status
from activelearning.labels import Problem
from activelearning.settings import Settings
from activelearning.state import Job
from activelearning.store import Store
from trainer import engine_record, performance, pool_prediction
from trainer.means import Means
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.query import ranking
from trainer.query.strategy import CONSISTENCY, OBJECTS


@dataclass(frozen=True, slots=True)
class Work:
    """What a job is done with. `tell` hears of progress and may raise to stop the work; `clock` gives seconds since the epoch; `means` say
    what this machine trains with."""

    store: Store
    settings: Settings
    job: Job
    tell: Callable[[str], None]
    clock: Callable[[], float]
    means: Means = field(default_factory=Means)

    def move(self, status: Status) -> None:
        """Note where the iteration stands."""
        jobs.move_iteration(self.store, self.job.run, status, self.clock())

    def progressed(self) -> None:
        """Something is kept that the next attempt need not do again, so the attempts until now do not count against the job."""
        jobs.forgive(self.store, self.job.id)

    def report(self, problems: Iterable[Problem]) -> None:
        """Say what had to be left out, on the way and in the journal."""
        found = [str(problem) for problem in problems]
        for problem in found:
            self.tell(f"warning: {problem}")
        if found:
            journal.write(self.store.labels, "trainer", "left out", self.clock(), run=self.job.run, problems=found)


def list_pool(work: Work, left_out: Collection[str], wanted: Callable[[str], bool] = lambda image: True) -> PinnedPool:
    """The images of the container that are `wanted` and not `left_out`; a name that no table could hold is reported."""
    now, names, refused, count = work.clock(), [], [], 0
    for info in work.store.images.list():
        if not layout.is_image(info.name):
            continue
        count += 1
        try:
            layout.check_blob_name(info.name)
        except UserError as error:
            refused.append(Problem("images container", str(error)))
            continue
        if info.name not in left_out and wanted(info.name):
            names.append(info.name)
    work.report(refused)
    return PinnedPool(tuple(names), now, count)


def commit_of(work: Work, model: str, totag_name: str, tagged_name: str, pool: PinnedPool) -> Commit:
    """The commit that makes the job's results current. What could not be read is reported here, once."""
    unreadable = pool_prediction.unreadable(work.store.labels, work.job.id, pool)
    work.report(Problem(image, f"{reason}; it is not in totag") for image, reason in unreadable.items())
    sequence, now = work.job.parent + 1, work.clock()
    return Commit(
        sequence, work.job.id, work.job.run, model, totag_name, tagged_name, pool.listed_at, pool.container_images, len(unreadable), now
    )


def recipe_of(work: Work, model: str) -> Recipe:
    """How this job predicts with a run's model: family and classes are the model's own, whatever the project says by now.

    Raises `UserError` when there is no such model.
    """
    try:
        card = performance.read_card(work.store.labels, model)
    except BlobMissing:
        raise UserError(_no_model(work.store, model)) from None
    low = work.job.min_confidence if work.job.min_confidence >= 0 else work.settings.prediction.min_confidence
    needs = ranking.needs(work.settings.selection)
    return Recipe(
        model,
        card["family"],
        tuple(card["classes"]),
        replace(work.settings.prediction, min_confidence=low),
        objects=OBJECTS in needs,
        mirror=CONSISTENCY in needs,
    )


def read_onnx(store: Store, model: str) -> bytes:
    """A run's exported model, in the numbers that were chosen for it. Raises `UserError` when there is none."""
    try:
        return engine_record.model_bytes(store.labels, model)
    except BlobMissing:
        raise UserError(_no_model(store, model)) from None


def _no_model(store: Store, model: str) -> str:
    return f"there is no model '{model}' in {store.url}; name a run such as main/1"
