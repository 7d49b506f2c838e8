"""Two turns one after the other, the second with real training: what the machine accepted is learned from, or withdrawn."""

import json
from typing import Any

from activelearning import claims, journal, layout, state
from activelearning.claims import Wanted
from activelearning.state import Batch, Claimed
from tests.trainer import autolabel_loops as project
from tests.trainer import loops
from tests.trainer.autolabel_loops import ODD, POOL, accepted, current, listed, turned
from tests.trainer.loops import World
from trainer import fitting


def card(world: World, run: str) -> dict[str, Any]:
    """A run's model card."""
    found: dict[str, Any] = json.loads(world.store.labels.read(layout.model(run, "model.json")).content)
    return found


def test_accepted_images_are_learned_from_and_audits_are_kept_as_evidence() -> None:
    world = turned()
    settled, audits = accepted(world.store)
    held, claimed = sorted(settled)[:2]
    hold(world, claimed)
    audited = sorted(audits)[:-1]
    project.hand_in(world.store, "b2", project.truths([*map(project.seed_of, audited), project.seed_of(held)]))
    world.settle()

    commit, record = current(world.store)
    trained = fitting.trained_on(world.store.labels, "main/2")
    by_machine = trained & settled - {held}
    assert commit.run == "main/2" and commit.autolabelled == "main/2"
    # as many as people have reviewed: the eight of the first turn, the audits and the one that somebody had already
    assert len(by_machine) == card(world, "main/2")["accepted_images"] == 8 + len(audited) + 1
    assert trained == {*map(loops.name, project.LEARNED), held, project.LONG_AGO} | by_machine
    assert card(world, "main/2")["labelled_images"] == 9
    assert record.held_out == tuple(audited) and record.audit is not None and (record.audit.run, record.audit.wrong) == ("main/1", 0)
    assert any("all weights of the last model were taken over" in line for line in world.told)

    again, audits_again = accepted(world.store)
    reviewed = {held, *audited}
    assert (again | audits_again).isdisjoint(reviewed) and reviewed.isdisjoint(listed(world.store))
    assert again | {*listed(world.store), *reviewed} == {*map(loops.name, POOL), ODD}
    assert [c.image for c in state.load(world.store.labels).batches["early"].claimed] == [claimed], "who had it before keeps it"


def hold(world: World, image: str) -> None:
    """Somebody has had an image since before it was accepted."""
    batch = Batch("early", "ann", layout.totag("main/0"), (Claimed(image, 0, 1),), world.clock(), world.clock() + 1e9)
    state.update(world.store.labels, lambda before: before.with_batch(batch))


def test_a_broken_promise_is_withdrawn_and_nothing_of_it_is_learned() -> None:
    world = turned()
    settled, audits = accepted(world.store)
    project.hand_in(world.store, "b2", (project.unlike(loops.truth(project.seed_of(image), image)) for image in sorted(audits)))
    world.settle()

    commit, record = current(world.store)
    assert commit.run == "main/2" and record.audit is not None and record.audit.broken and record.audit.wrong == 3 * len(audits)
    assert fitting.trained_on(world.store.labels, "main/2") == set(map(loops.name, project.LEARNED))
    assert card(world, "main/2")["accepted_images"] == 0 and card(world, "main/2")["warm_start_from"] == ""
    assert not any("of the last model were taken over" in line for line in world.told)
    assert record.held_out == tuple(sorted(audits))
    entries = [entry for entry in journal.read(world.store.labels) if entry["what"] == "promise broken"]
    assert [(entry["run"], entry["wrong"]) for entry in entries] == [("main/1", 3 * len(audits))]
    # a model of four iterations proves nothing
    assert record.images == 0 and settled <= set(listed(world.store))
    claimed, _ = claims.claim(world.store.labels, "b", "ann", 50, Wanted(), world.clock(), 1)
    assert settled <= {one.image for one in claimed.claimed}
