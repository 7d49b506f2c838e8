"""What a totag says of its order: score and reason of every image, whatever was read before, whatever order it came in."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from activelearning import table
from activelearning.labels import Box, ImageLabels, Review
from activelearning.settings import Selection
from activelearning.store import open_store
from tests.trainer.query_pools import box, image
from trainer import totag
from trainer.query.candidates import Candidates
from trainer.query.strategy import Extra

NAME = "totag/main/1.csv"


def written(
    images: Sequence[ImageLabels],
    selection: Selection,
    audits: Sequence[str] = (),
    load: Callable[[Candidates], Extra] = lambda pool: Extra(),
) -> list[ImageLabels]:
    blobs = open_store("memory:").labels
    totag.write(blobs, NAME, images, selection, audits, load)
    reading = table.read_labels(blobs.read(NAME).content.decode(), NAME)
    assert not reading.problems
    return list(reading.images)


def reasons(images: Sequence[ImageLabels]) -> dict[str, str]:
    return {labels.image: labels.chosen_for for labels in images}


POOL = [
    image("cam-1/1.jpg", box("RBC", 0.9, entropy=0.5), box("WBC", 0.6, entropy=1.25)),
    image("cam-1/2.jpg", box("Platelets", 0.5, entropy=1.0)),
    image("cam-2/3.jpg", box("RBC", 0.9, entropy=0.25)),
    image("cam-2/4.jpg"),
]


def test_each_image_tells_its_score_and_what_it_was_chosen_for() -> None:
    found = written(POOL, Selection("entropy", "max"))

    assert [(one.image, one.acquisition_score) for one in found] == [
        ("cam-1/1.jpg", 1.25), ("cam-1/2.jpg", 1.0), ("cam-2/3.jpg", 0.25), ("cam-2/4.jpg", 0.0)
    ]  # fmt: skip
    assert list(reasons(found).values()) == [
        "entropy of a WBC box", "entropy of a Platelets box", "entropy of a RBC box", "entropy, no box found"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection("entropy", "mean"), "entropy, mean of 2 boxes"),
        (Selection("entropy", "sum"), "entropy, sum of 2 boxes"),
        (Selection("entropy", "min"), "entropy, least of 2 boxes"),
        (Selection("entropy", "top-k"), "entropy, least sure of 2 boxes"),
        (Selection("least-confidence", "max"), "least-confidence of a WBC box"),
        (Selection("random"), "random"),
    ],
)
def test_the_reason_follows_the_settings(selection: Selection, reason: str) -> None:
    assert reasons(written(POOL, selection))["cam-1/1.jpg"] == reason


def test_shares_audits_and_near_duplicates_are_named() -> None:
    selection = Selection("entropy", "max", class_balance={"Platelets": 0.5, "NULL": 0.5}, folder_quotas={"cam-2": 1.0})
    extra = Extra(clusters=np.array([0, 1, 0, 3]), bursts=np.array([0, 1, 2, 1]))

    found = written(POOL, selection, ["cam-2/4.jpg"], lambda pool: extra)

    assert reasons(found) == {
        "cam-1/1.jpg": "entropy of a WBC box",
        "cam-1/2.jpg": "entropy of a Platelets box; balance: Platelets",
        "cam-2/3.jpg": "near-duplicate of cam-1/1.jpg; folder: cam-2",
        "cam-2/4.jpg": "audit",
    }
    assert reasons(written(POOL, selection, (), lambda pool: extra))["cam-2/4.jpg"] == (
        "taken within moments of cam-1/2.jpg; balance: NULL; folder: cam-2"
    )


def test_what_is_loaded_is_of_the_pool_by_name() -> None:
    names: list[str] = []

    def load(pool: Candidates) -> Extra:
        names.extend(pool.images)
        return Extra(labelled_boxes={"Platelets": 3}, seconds=np.array([1.0, 4.0, 1.0, 1.0]))

    found = written(POOL[::-1], Selection("class-balanced-gain", per_second=True), load=load)

    assert names == [one.image for one in POOL]
    # √0.5 + √1.25; √(1 / 4) / 4 s; √0.25; nothing
    assert {one.image: one.acquisition_score for one in found} == pytest.approx(
        {"cam-1/1.jpg": 1.825141, "cam-2/3.jpg": 0.5, "cam-1/2.jpg": 0.125, "cam-2/4.jpg": 0.0}, rel=1e-5
    )


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection("entropy", "max", per_second=True, random_share=0.0), "entropy per second of a WBC box"),
        (
            Selection("entropy", per_second=True, class_weights="inverse-frequency", random_share=0.0),
            "class-weighted entropy per second, mean of 2 boxes",
        ),
        (Selection("class-balanced-gain", per_second=True, random_share=0.0), "class-balanced-gain per second"),
        (Selection("random", per_second=True, class_weights="inverse-frequency"), "random"),
    ],
)
def test_what_scores_are_weighed_by_is_named(selection: Selection, reason: str) -> None:
    found = written(POOL, selection, load=lambda pool: Extra(labelled_boxes={}, seconds=np.ones(4)))
    assert reasons(found)["cam-1/1.jpg"] == reason


def test_a_labelled_image_that_stands_for_others_is_named() -> None:
    extra = Extra(clusters=np.array([0, 1, 2, 3, 0, 9]), bursts=np.array([0, 1, 2, 3, 8, 2]), labelled_images=["old.jpg", "cam-2/2.jpg"])

    found = reasons(written(POOL, Selection("entropy", "max", random_share=0.0), load=lambda pool: extra))

    assert list(found)[:2] == ["cam-1/2.jpg", "cam-2/4.jpg"]
    assert found["cam-1/1.jpg"] == "near-duplicate of old.jpg" and found["cam-2/3.jpg"] == "taken within moments of cam-2/2.jpg"


_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
_odd = st.lists(
    st.builds(lambda label, confidence: box(label, confidence), _texts.filter(lambda text: text != "NULL"), st.sampled_from([0.1, 0.5])),
    max_size=3,
)


@budget(max_examples=50, deadline=None)
@given(st.lists(_odd, max_size=6), st.randoms(use_true_random=False))
def test_rows_stay_whole_and_in_one_order_whatever_order_they_come_in(rows: list[list[Box]], chance: random.Random) -> None:
    images = [image(f'x\u2028/"{number}",.jpg', *boxes) for number, boxes in enumerate(rows)]

    found = written(images, Selection("entropy", "max"))

    assert {one.image: one.boxes for one in found} == {one.image: one.boxes for one in images}
    assert found == written(chance.sample(images, len(images)), Selection("entropy", "max"))


def test_what_an_older_totag_said_is_not_said_again() -> None:
    old = written(POOL, Selection("entropy", "max"))

    assert reasons(written(old, Selection("random"))) == dict.fromkeys((one.image for one in POOL), "random")


def test_the_columns_round_trip_and_are_empty_once_reviewed() -> None:
    listed = ImageLabels("a.jpg", review=Review.UNOPENED, acquisition_score=-0.25, chosen_for='entropy of a "b, c" box')
    reviewed = ImageLabels("b.jpg", review=Review.REVIEWED, acquisition_score=1.0, chosen_for="audit")

    found = table.read_labels("".join(table.write_labels([listed, reviewed])), "t").images

    assert found == (listed, ImageLabels("b.jpg", review=Review.REVIEWED))
    assert table.COLUMNS[-2:] == ("acquisition_score", "chosen_for")


def test_a_table_without_the_columns_is_read_and_one_that_lies_is_told() -> None:
    head, row = "filename,class,xmin,xmax,ymin,ymax,box_confidence", "a.jpg,NULL,0,0,0,0,"

    old = table.read_labels(f"{head}\n{row}\n", "t").images[0]
    bad = table.read_labels(f"{head},acquisition_score,chosen_for\n{row},nan,x\n{row},1,x\x07\n", "t").problems

    assert (old.acquisition_score, old.chosen_for) == (None, "")
    assert [str(problem) for problem in bad] == [
        "t row 2: acquisition_score is not a finite number; the row was left out",
        "t row 3: chosen_for is 'x\\x07', which holds a line break or another control character; the row was left out",
    ]
