"""What a run learns of its drafts: from held-out images, weighed by what people did with earlier ones, written once."""

from dataclasses import replace

import numpy as np
import pytest

from activelearning import drafts_record, handouts, layout, project_file, table
from activelearning.claims import Wanted
from activelearning.commits import Commit
from activelearning.handouts import Offer
from activelearning.labels import HUMAN, MODEL, Box, ImageLabels, Review
from activelearning.learned_drafts import Experience
from activelearning.settings import Settings
from activelearning.state import Batch, Job
from activelearning.store import Store, open_store
from tests.core.learned import LEARNED
from tests.trainer.judged_scene import found_in, truth_of
from trainer import draft_experience, draft_learning
from trainer.held_out import HeldOut
from trainer.work import Work

SETTINGS = Settings(("cat", "dog"))
SIZE = (200, 200)
PARENT = Commit(1, "j1", "main/1", "main/1", "totag/main/1.csv", "tagged/main/1.csv", 0.0, 9, 0, 0.0)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    made = open_store(f"memory:{request.node.name}")
    made.labels.create(layout.PROJECT, project_file.render_project(SETTINGS).encode())
    return made


def work(store: Store, told: list[str], *uploads: str) -> Work:
    return Work(store, SETTINGS, Job("j2", "train", "main/2", 1, uploads=uploads), told.append, lambda: 0.0)


def held_out(images: int = 40) -> HeldOut:
    """Each image with one cat: found at 0.3 to 0.9, kept in most, nudged in some, beside a false box whose confidence says so."""
    rng = np.random.default_rng(0)
    xyxy = (20.0, 20.0, 60.0, 60.0)
    rows = [((20.0, 20.0, 60.0, 60.0 if number % 3 else 46.0), round(float(rng.uniform(0.3, 0.9)), 3), 0) for number in range(images)]
    found = tuple(found_in(row, ((100.0, 100.0, 140.0, 140.0), 0.1, 0)) for row in rows)
    return HeldOut(tuple(map(str, range(images))), (SIZE,) * images, found, (truth_of((xyxy, 0)),) * images)


def test_what_is_learned_is_written_once_and_told(store: Store) -> None:
    told: list[str] = []
    draft_learning.write(work(store, told), "main/2", held_out(), None)
    learned = drafts_record.read(store.labels, "main/2")
    assert learned and 0.1 < learned.thresholds["cat"] <= 0.35 and learned.run == "main/2"
    # a third is nudged, the others kept
    assert learned.seconds == pytest.approx(1.5 + (14 * 4 + 26 * 1.6) / 40) and learned.drawing_seconds == pytest.approx(8.5)
    assert learned.seconds < learned.fixed_seconds and learned.objects == 1 and learned.missed == 0
    hidden = [found.confidence.max() < 0.4 for found in held_out().found]
    fixed = 1.5 + sum(7 if one else 1.6 if number % 3 else 4 for number, one in enumerate(hidden)) / 40
    assert told == [f"drafts: an image takes about 3.9 s with them, {fixed:.1f} s with all from confidence 0.4 on, 8.5 s without"]
    before = store.labels.read(layout.drafts("main/2")).content
    draft_learning.write(work(store, told), "main/2", held_out(50), None)
    assert store.labels.read(layout.drafts("main/2")).content == before and len(told) == 1


def test_too_few_objects_leave_the_fixed_confidence(store: Store) -> None:
    told: list[str] = []
    draft_learning.write(work(store, told), "main/2", held_out(20), None)
    draft_learning.write(work(store, told), "main/2", HeldOut((), (), (), ()), None)
    assert drafts_record.read(store.labels, "main/2") is None
    (sentence,) = told
    assert sentence.startswith("drafts are shown from confidence 0.4 on: the test split holds too few objects")


def draft(at: float, confidence: float = 0.7, label: str = "cat") -> Box:
    return Box(label, at, 0.1, at + 0.1, 0.2, confidence, MODEL)


def returned(store: Store, batch: str = "b", images: int = 10, kept: int = 5) -> str:
    """A batch of images with two drafts each, of which people kept the first in `kept` images and deleted all others, adding a box each."""
    store.labels.create(layout.drafts("main/1"), drafts_record.to_json(LEARNED))
    rows = [ImageLabels(f"{number}.jpg", 100, 100, (draft(0.1), draft(0.5)), Review.UNOPENED) for number in range(images)]
    claim = Batch(batch, "ann", "totag/main/1.csv", (), 1.0, 2.0)
    handouts.hand_out(store.labels, claim, rows, Offer("totag/main/1.csv", "main/1", LEARNED), SETTINGS, Wanted())
    store.labels.create(layout.batch_totag(batch), table.table_bytes(rows))
    added = Box("cat", 0.8, 0.8, 0.9, 0.9, source=HUMAN)
    reviews = [replace(one, boxes=(*one.boxes[: int(number < kept)], added), review=Review.REVIEWED) for number, one in enumerate(rows)]
    store.labels.create(layout.batch_reviewed(batch), table.table_bytes(reviews))
    return layout.batch_reviewed(batch)


def test_people_are_held_against_what_was_expected_of_these_very_drafts(store: Store) -> None:
    batches = draft_learning.returned(store.labels, [returned(store)])
    seen = draft_experience.experience(store.labels, batches)
    assert seen.by_class["cat"].seen == (5, 0, 15)
    # twenty drafts at 0.7: 0.6 kept, 0.3 nudged, 0.1 deleted
    assert seen.by_class["cat"].expected == pytest.approx((12, 6, 2))
    # one added in each image, where half an object was expected to be missed
    assert seen.missed == (10, pytest.approx(5))


def test_factors_are_shrunk_and_a_class_without_drafts_has_those_of_all(store: Store) -> None:
    factors, other = draft_experience.factors_of({"cat": Experience((5, 0, 15), (12, 6, 2))}, ("cat", "dog"))
    pooled = ((5 + 20) / (12 + 20), 20 / 26, (15 + 20) / (2 + 20))
    assert other == pytest.approx(pooled) and factors["dog"] == pytest.approx(pooled)
    assert factors["cat"] == pytest.approx(tuple((s + 20 * f) / (e + 20) for s, f, e in zip((5, 0, 15), pooled, (12, 6, 2), strict=True)))
    assert draft_experience.factors_of({}, ("cat",)) == ({"cat": (1.0, 1.0, 1.0)}, (1.0, 1.0, 1.0))
    extreme, _ = draft_experience.factors_of({"cat": Experience((0, 0, 1e6), (1e6, 0, 0))}, ("cat",))
    assert extreme["cat"] == (0.2, 1.0, 5.0)


def test_what_was_seen_before_counts_half(store: Store) -> None:
    now = draft_experience.Seen({"cat": Experience((1, 0, 0), (0.5, 0.5, 0)), "dog": Experience((0, 1, 0), (0, 0, 1))}, (2.0, 1.0))
    both = draft_experience.added_up(LEARNED, now)
    assert both.by_class["cat"] == Experience((2.5, 1, 0.5), (2.5, 1, 0.5)) and both.by_class["dog"] == now.by_class["dog"]
    assert both.missed == (5.5, 3.5)
    assert draft_experience.added_up(None, now) == now


def test_people_who_delete_more_than_expected_raise_the_threshold_and_the_expectation(store: Store) -> None:
    upload = returned(store, images=60, kept=0)
    draft_learning.write(work(store, [], upload), "main/2", mixed(), PARENT)
    learned = drafts_record.read(store.labels, "main/2")
    other = open_store("memory:alone")
    draft_learning.write(work(other, []), "main/2", mixed(), None)
    alone = drafts_record.read(other.labels, "main/2")
    assert learned and alone
    assert learned.thresholds["cat"] > alone.thresholds["cat"]
    assert learned.shares("cat", 0.7)[2] > alone.shares("cat", 0.7)[2] and learned.missed_factor > 1
    assert (
        learned.returned.batches == 1 and learned.returned.images == 60 and learned.returned.deleted == 120 and learned.returned.added == 60
    )
    assert learned.returned.seconds == pytest.approx(60 * 1.5 + 120 * 1 + 60 * 7)
    assert learned.returned.expected_seconds == pytest.approx(60 * (1.5 + 2 * (0.6 * 1.6 + 0.3 * 4 + 0.1) + 0.5 * 7), abs=1)
    assert learned.experience["cat"].seen[2] == pytest.approx(120 + LEARNED.experience["cat"].seen[2] / 2)


def mixed() -> HeldOut:
    """Boxes of which the more confident are right more often, in forty images."""
    rng = np.random.default_rng(1)
    found, truth = [], []
    for _ in range(60):
        confidence = [round(float(rng.uniform(0.05, 0.95)), 3) for _ in range(4)]
        places = [(10.0 + 45 * place, 10.0, 45.0 + 45 * place, 45.0) for place in range(4)]
        found.append(found_in(*((place, score, 0) for place, score in zip(places, confidence, strict=True))))
        truth.append(truth_of(*((place, 0) for place, score in zip(places, confidence, strict=True) if rng.random() < score)))
    return HeldOut(tuple(map(str, range(60))), (SIZE,) * 60, tuple(found), tuple(truth))


def test_batches_of_which_nothing_was_expected_teach_nothing(store: Store) -> None:
    store.labels.create(layout.batch_totag("old"), table.table_bytes([ImageLabels("a.jpg", 9, 9, (draft(0.1),), Review.UNOPENED)]))
    store.labels.create(layout.batch_reviewed("old"), table.table_bytes([ImageLabels("a.jpg", 9, 9)]))
    store.labels.create(layout.batch_reviewed("import-1"), table.table_bytes([ImageLabels("b.jpg", 9, 9)]))
    batches = draft_learning.returned(store.labels, [layout.batch_reviewed("old"), layout.batch_reviewed("import-1")])
    assert [one.batch for one in batches] == ["old"]
    assert draft_experience.experience(store.labels, batches) == draft_experience.Seen()


def test_a_damaged_record_of_the_model_before_costs_its_memory_only(store: Store) -> None:
    upload = returned(store)
    etag = store.labels.read(layout.drafts("main/1")).etag
    store.labels.replace(layout.drafts("main/1"), b'{"other": NaN}', etag)
    draft_learning.write(work(store, [], upload), "main/2", held_out(), PARENT)
    learned = drafts_record.read(store.labels, "main/2")
    assert learned and learned.factors["cat"] == (1.0, 1.0, 1.0) and learned.returned.images == 10


AFTER_THREE = replace(PARENT, sequence=3, job="j3", run="main/3", model="main/3")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_that_learned_nothing_does_not_make_the_next_forget(store: Store, damaged: bool) -> None:
    store.labels.create(layout.drafts("main/1"), drafts_record.to_json(LEARNED))
    if damaged:
        store.labels.create(layout.drafts("main/3"), b"{}")
    draft_learning.write(work(store, []), "main/4", held_out(), AFTER_THREE)
    learned = drafts_record.read(store.labels, "main/4")
    (kept, nudged, deleted), (added, _) = LEARNED.experience["cat"].seen, LEARNED.missed_experience
    assert learned and learned.experience["cat"].seen == (kept / 2, nudged / 2, deleted / 2) and learned.missed_experience[0] == added / 2


@pytest.mark.parametrize(("model", "known"), [("main/21", "main/1"), ("main/2", "main/1"), ("main/22", ""), ("other/2", "")])
def test_only_the_last_twenty_runs_of_the_same_flow_are_looked_through(store: Store, model: str, known: str) -> None:
    store.labels.create(layout.drafts("main/1"), drafts_record.to_json(LEARNED))
    draft_learning.write(work(store, []), "main/30", held_out(), replace(PARENT, model=model))
    learned = drafts_record.read(store.labels, "main/30")
    assert learned and bool(learned.experience) is bool(known)
