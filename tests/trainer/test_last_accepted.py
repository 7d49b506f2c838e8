"""What the accepted images are good for in the next turn, now that people have seen some of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import autolabels, layout
from activelearning.commits import Commit
from activelearning.labels import ImageLabels
from tests.trainer import autolabel_loops as project
from tests.trainer import loops
from tests.trainer.autolabel_loops import ASKED, SETTINGS, accepted, current, turned, work_on
from tests.trainer.loops import World
from trainer import accepting
from trainer.accepting import Accepted


def reviewed(world: World) -> list[ImageLabels]:
    """What people said of the audits, and of the scenes that the model learned."""
    _, audits = accepted(world.store)
    return project.truths([*project.LEARNED, *map(project.seed_of, sorted(audits))])


def last_accepted(world: World, settings: project.Settings = SETTINGS, people: list[ImageLabels] | None = None) -> Accepted:
    commit, _ = current(world.store)
    return accepting.last_accepted(work_on(world, settings), commit, reviewed(world) if people is None else people, "main/2")


def test_accepted_images_are_trained_on_but_never_audits_nor_what_people_reviewed() -> None:
    world = turned()
    settled, audits = accepted(world.store)
    theirs = sorted(settled)[0]
    people = [*reviewed(world), loops.truth(project.seed_of(theirs), theirs)]
    found = last_accepted(world, people=people)
    assert len(found.images) == len(people) and {labels.image for labels in found.images} <= settled - {theirs}
    assert found.audited == audits and found.audit == autolabels.Audit("main/1", 3 * len(audits), 0, False) and not found.broken


@pytest.mark.parametrize(("share", "images"), [(0.0, 0), (0.5, 6), (1000.0, None)])
def test_no_more_are_trained_on_than_asked(share: float, images: int | None) -> None:
    world = turned()
    found = last_accepted(world, replace(SETTINGS, autolabel=replace(ASKED, train_share=share)))
    assert len(found.images) == (len(accepted(world.store)[0]) if images is None else images)
    assert found == last_accepted(world, replace(SETTINGS, autolabel=replace(ASKED, train_share=share)))


def test_audits_that_nobody_has_seen_yet_are_not_trained_on() -> None:
    world = turned()
    settled, audits = accepted(world.store)
    settings = replace(SETTINGS, autolabel=replace(ASKED, train_share=1000.0))
    found = last_accepted(world, settings, project.truths(project.LEARNED))
    assert audits and {labels.image for labels in found.images} == settled
    assert (found.audited, found.audit) == (frozenset(), autolabels.Audit("main/1", 0, 0, False))


def test_a_broken_promise_withdraws_all_of_it() -> None:
    world = turned()
    _, audits = accepted(world.store)
    people = [*project.truths(project.LEARNED), *(project.unlike(loops.truth(project.seed_of(image), image)) for image in audits)]
    found = last_accepted(world, people=people)
    assert found.images == () and found.audited == audits and found.broken and "the promise is broken" in world.told[-1]


def test_a_promise_that_was_broken_before_the_last_training_is_over() -> None:
    world = turned()
    commit, record = current(world.store)
    broken = autolabels.Audit("main/0", 40, 40, True)
    autolabels.create(world.store.labels, "main/7", replace(record, audit=broken))
    for run, stands in (("main/7", False), ("main/1", True)):
        found = accepting.last_accepted(work_on(world), replace(commit, run=run, autolabelled="main/7"), reviewed(world), "main/8")
        assert found.broken is stands and (found.audit == broken) is stands


def test_who_switched_it_off_trains_on_nothing_of_it_but_hears_of_a_broken_promise() -> None:
    world = turned()
    off = replace(SETTINGS, autolabel=replace(ASKED, precision=0.0))
    assert last_accepted(world, off).images == () and last_accepted(world, off).audited == frozenset()
    _, audits = accepted(world.store)
    wrong = [project.unlike(loops.truth(project.seed_of(image), image)) for image in audits]
    assert last_accepted(world, off, wrong).broken


def test_with_a_class_more_or_less_nothing_accepted_is_trained_on() -> None:
    world = turned()
    for classes in (("square", "bar", "disc"), ("square",), ("bar", "square")):
        assert last_accepted(world, replace(SETTINGS, classes=classes)).images == ()


def test_another_draw_in_the_settings_changes_nothing_about_a_division_that_was_made() -> None:
    world = turned()
    other = replace(SETTINGS, autolabel=replace(ASKED, seed=5, audit_share=0.9))
    assert last_accepted(world, other) == last_accepted(world)
    commit, _ = current(world.store)
    assert accepting.standing(work_on(world, other), commit) == accepting.standing(work_on(world), commit)


@pytest.mark.parametrize("name", [layout.autolabel_record("main/1"), layout.autolabelled("main/1")])
def test_what_is_deleted_from_the_store_is_not_accepted_any_more(tmp_path: Path, name: str) -> None:
    world = turned(str(tmp_path))
    commit, _ = current(world.store)
    (found,) = (path for path in tmp_path.rglob(name.rpartition("/")[2]) if "autolabelled" in str(path))
    found.unlink()
    assert accepting.standing(work_on(world), commit).settled == frozenset()
    assert accepting.last_accepted(work_on(world), commit, project.truths(project.LEARNED), "main/2").images == ()


def test_a_commit_without_divisions_has_accepted_nothing() -> None:
    world = project.begun()
    first = Commit(1, "train-1", "main/1", "main/1", "totag/main/1.csv", "tagged/main/1.csv", 0.0, 0, 0, 0.0)
    assert (
        accepting.last_accepted(work_on(world), first, [], "main/2")
        == accepting.last_accepted(work_on(world), None, [], "main/2")
        == Accepted()
    )
