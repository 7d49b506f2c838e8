"""What is reckoned from a totag goes by the model that all its drafts are of; where they are of several, by none."""

from dataclasses import replace

import pytest

from activelearning import drafts_record, layout, table
from activelearning.commits import Commit
from activelearning.labels import MODEL, Box, ImageLabels, Review
from activelearning.settings import Selection, Settings
from activelearning.state import Job
from activelearning.store import Store, open_store
from tests.core.learned import LEARNED
from trainer import pool_features, reporting, review_seconds
from trainer.pinned_pool import PinnedPool, Recipe
from trainer.query import candidates
from trainer.study import Study
from trainer.work import Work

SELECTION = Selection(strategy="entropy", per_second=True)
SETTINGS = Settings(("cat", "dog"), selection=SELECTION)
ROW = ImageLabels("a.jpg", 100, 100, (Box("cat", 0.1, 0.1, 0.2, 0.2, 0.7, MODEL, measures=(("entropy", 0.5),)),), Review.UNOPENED)
COMMIT = Commit(2, "p1", "main/2", "main/2", "totag/main/2-x.csv", "", 0.0, 1, 0, 0.0)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Store:
    made = open_store(f"memory:{request.node.name}")
    made.labels.create(layout.drafts("main/2"), drafts_record.to_json(replace(LEARNED, run="main/2")))
    made.labels.create(COMMIT.totag, table.table_bytes([ROW]))
    return made


def work(store: Store) -> Work:
    return Work(store, SETTINGS, Job("p1", "predict", "main/2", 1), lambda line: None, lambda: 0.0)


@pytest.mark.parametrize("drafts_of", ["main/2", ""])
def test_seconds_go_by_what_was_learned_of_the_model_that_all_drafts_are_of(store: Store, drafts_of: str) -> None:
    pool = PinnedPool(("a.jpg",), 0.0, 1, Recipe("main/2", "compact", SETTINGS.classes))
    rows = candidates.of_labels([ROW], ("entropy", "probability"))
    found = pool_features.loader(work(store), pool, SELECTION, tuple, drafts_of)(rows).seconds
    learned, unknown = (review_seconds.of_pool(store.labels, SETTINGS, run, rows) for run in ("main/2", ""))
    assert found is not None and learned != pytest.approx(unknown)
    assert found == pytest.approx(learned if drafts_of else unknown)


@pytest.mark.parametrize(("drafts_of", "images"), [("main/2", ["a.jpg"]), ("main/1", []), ("", [])])
def test_a_report_shows_the_pool_if_all_of_it_is_of_its_model(store: Store, drafts_of: str, images: list[str]) -> None:
    study = Study(work(store), "main/2", b"", "compact", (), replace(COMMIT, drafts_of=drafts_of))
    assert [labels.image for labels in reporting.current_pool(study)] == images
