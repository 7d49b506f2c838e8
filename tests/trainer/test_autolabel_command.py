"""Auto-labelling by hand: takes effect at once, harms nothing, and asked again says what is there."""

from dataclasses import replace

import pytest

from activelearning import autolabels, claims, commits, journal, layout, state
from activelearning.autolabels import Record
from activelearning.claims import Wanted
from activelearning.errors import BlobChanged, UserError
from activelearning.state import DONE, QUEUED, RUNNING, Job
from activelearning.store import Store
from tests.trainer import autolabel_loops as project
from tests.trainer import loops
from tests.trainer.autolabel_loops import ASKED, ODD, POOL, SETTINGS, accepted, current, listed, turned
from tests.trainer.loops import World
from trainer import accepting, autolabel_command

OFF = replace(SETTINGS, autolabel=replace(ASKED, precision=0.0))
ALL = {*map(loops.name, POOL), ODD}


def ask(world: World, precision: float | None = 0.8, confidence: float | None = None, store: Store | None = None) -> Record:
    return autolabel_command.run(store or world.store, precision, confidence, world.told.append, world.clock)


@pytest.mark.parametrize("place", ["memory:", "directory"])
def test_what_is_proved_is_accepted_at_once_as_a_turn_would_have_it(place: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    world = turned(place if place == "memory:" else str(tmp_path_factory.mktemp("store")), OFF)
    before = commits.latest(world.store.labels)
    assert before is not None and set(listed(world.store)) == ALL and before.autolabelled == ""
    record = ask(world)
    commit, found = current(world.store)
    by_turn = turned()
    assert found == record and (record.run, record.precision) == ("main/1", 0.8)
    assert accepted(world.store) == accepted(by_turn.store) and listed(world.store) == listed(by_turn.store)
    assert commit.autolabelled.startswith("main/1-") and commit.job.startswith("autolabel-")
    kept = ("run", "model", "tagged", "listed_at", "pool_images", "predicted")
    assert commit.sequence == before.sequence + 1 and all(getattr(commit, name) == getattr(before, name) for name in kept)
    assert state.load(world.store.labels).totag == commit.totag
    boxes = [box for labels in autolabels.labels(world.store.labels, commit.autolabelled) for box in labels.boxes]
    assert {box.source for box in boxes} == {"pseudo@main/1"} and len(boxes) == record.boxes
    assert any("autolabel.precision is 0 in project.toml" in line for line in world.told)
    assert [entry["precision"] for entry in journal.read(world.store.labels) if entry["what"] == "auto-labelled"] == [0.8]


def test_asked_again_it_says_what_is_there() -> None:
    world = turned(settings=OFF)
    record = ask(world)
    blobs = {info.name for info in world.store.labels.list()}
    assert ask(world) == record and "divided by this promise already" in world.told[-1]
    assert {info.name for info in world.store.labels.list()} == blobs and current(world.store)[0].sequence == 2


def test_a_stricter_promise_gives_images_back_and_the_first_one_can_be_had_again() -> None:
    world = turned(settings=OFF)
    first, strict = ask(world), ask(world, 0.95)
    settled, audits = accepted(world.store)
    assert strict.images < first.images and set(listed(world.store)) == ALL - settled and audits <= set(listed(world.store))
    assert ask(world) == first and current(world.store)[0].sequence == 4
    assert ALL - accepted(world.store)[0] == set(listed(world.store))


def test_accepted_images_are_judged_by_all_that_was_predicted_of_them() -> None:
    """The weak boxes of an accepted image are kept, so that another floor finds them again."""
    world = turned()
    project.change_settings(world.store, replace(SETTINGS, drafts=replace(SETTINGS.drafts, min_confidence=0.06)))
    lower = ask(world)
    other = turned(settings=replace(SETTINGS, drafts=replace(SETTINGS.drafts, min_confidence=0.06)))
    assert (lower.thresholds, lower.images) == (current(other.store)[1].thresholds, current(other.store)[1].images)
    assert accepted(world.store) == accepted(other.store)


def test_audits_that_people_reviewed_since_are_checked_and_leave_the_pool() -> None:
    world = turned()
    _, audits = accepted(world.store)
    project.hand_in(world.store, "b2", project.truths(map(project.seed_of, sorted(audits))))
    record = ask(world)
    assert record.held_out == tuple(sorted(audits)) and record.audit == autolabels.Audit("main/1", 3 * len(audits), 0, False)
    assert audits.isdisjoint({*listed(world.store), *accepted(world.store)[0], *accepted(world.store)[1]})
    assert sum(int(rule.partition(" of ")[2].partition(" ")[0]) for rule in record.rules[:2]) == 60, (
        "they are the easy ones, and prove nothing"
    )


def test_a_promise_that_audits_broke_stands_as_broken_until_a_model_is_trained() -> None:
    world = turned()
    _, audits = accepted(world.store)
    wrong = [project.unlike(loops.truth(project.seed_of(image), image)) for image in sorted(audits)]
    project.hand_in(world.store, "b2", wrong)
    record = ask(world)
    assert record.audit is not None and record.audit.broken
    commit, _ = current(world.store)
    work = project.work_on(world)
    people = [*project.truths(project.LEARNED), *wrong]
    last = accepting.last_accepted(work, commit, people, "main/2")
    assert last.broken and last.audit == record.audit and last.audited == audits
    again = ask(world, 0.7)
    assert again.audit == record.audit
    entries = [entry for entry in journal.read(world.store.labels) if entry["what"] == "promise broken"]
    assert len(entries) == 1


def test_it_waits_for_no_job() -> None:
    world = turned(settings=OFF)
    for status in (QUEUED, RUNNING):
        with_job(world, status)
        with pytest.raises(UserError, match=f"job j is {status}: wait for it, or run `trainer once`"):
            ask(world)
    with_job(world, DONE)
    assert ask(world).images


def with_job(world: World, status: str) -> None:
    job = Job("j", "train", "main/2", 1, status=status, lease_until=world.clock() + 99)
    state.update(world.store.labels, lambda before: before.with_job(job))


@pytest.mark.parametrize("rival", ["job", "commit", "at this very moment"])
def test_a_job_that_begins_meanwhile_goes_first(rival: str) -> None:
    world = turned(settings=OFF)

    class Interrupted:
        def __getattr__(self, method: str) -> object:
            return getattr(world.store.labels, method)

        def create(self, name: str, content: object) -> None:
            world.store.labels.create(name, content)  # type: ignore[arg-type]
            if name.startswith("totag/"):
                meanwhile()

        def replace(self, name: str, content: bytes, etag: str | None) -> str:
            if name == layout.LATEST and rival == "at this very moment":
                raise BlobChanged(name)
            return world.store.labels.replace(name, content, etag)

    def meanwhile() -> None:
        if rival == "job":
            with_job(world, QUEUED)
        if rival == "commit":
            commit = commits.latest(world.store.labels)
            assert commit is not None
            assert commits.publish(world.store.labels, replace(commit, sequence=2, job="rival"), 1)

    with pytest.raises(UserError, match="a job began meanwhile, so nothing was changed"):
        ask(world, store=Store("memory:", world.store.images, Interrupted(), world.store.queues))  # type: ignore[arg-type]
    commit = commits.latest(world.store.labels)
    assert commit is not None and commit.autolabelled == ""
    with_job(world, DONE)
    assert ask(world).images, "asked again, it goes on from what is there"


def test_who_had_an_image_before_keeps_it() -> None:
    world = turned(settings=OFF)
    batch, rows = claims.claim(world.store.labels, "early", "ann", 20, Wanted(), world.clock(), 1)
    ask(world)
    assert claims.rows_of(world.store.labels, batch) == rows and state.load(world.store.labels).batches["early"] == batch
    free, _ = claims.claim(world.store.labels, "late", "eve", 99, Wanted(), world.clock(), 1)
    assert {c.image for c in free.claimed} == set(listed(world.store)) - {c.image for c in batch.claimed}


def test_without_a_model_or_a_promise_there_is_nothing_to_divide() -> None:
    world = project.begun(settings=OFF)
    with pytest.raises(UserError, match="there is no model yet"):
        ask(world)
    with pytest.raises(UserError, match=r"say which share of the accepted boxes must be right: --precision 0\.99"):
        ask(world, None)
    with pytest.raises(UserError, match=r"autolabel\.precision is 1\.5, but must lie between"):
        ask(world, 1.5)


def test_a_pool_predicted_in_several_ways_is_refused_with_what_helps() -> None:
    world = turned(settings=OFF)
    commit = commits.latest(world.store.labels)
    assert commit is not None
    mixed = replace(commit, sequence=2, job="other", predicted="")
    assert commits.publish(world.store.labels, mixed, 1)
    with pytest.raises(
        UserError, match=r"not all of the pool was predicted by one model .* `trainer predict memory:.* --model main/1` makes it so"
    ):
        ask(world)
    assert commits.publish(world.store.labels, replace(mixed, sequence=3, job="another", autolabelled="main/1"), 2)
    with pytest.raises(UserError, match="the next training makes it so"):
        ask(world)


def test_the_next_job_takes_over_what_was_accepted_by_hand() -> None:
    world = turned(settings=replace(SETTINGS, autolabel=replace(ASKED, precision=0.999)))
    assert set(listed(world.store)) == ALL
    ask(world)
    settled, audits = accepted(world.store)
    world.store.images.create("new/1.png", loops.png(71))
    world.settle()
    assert settled and accepted(world.store) == (settled, audits) and set(listed(world.store)) == {"new/1.png", *ALL} - settled
