"""The labelled set: last review wins, nothing is dropped without a word, and the test split keeps every image it ever had."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from activelearning import labelled, layout, table
from activelearning.errors import UserError
from activelearning.labels import ImageLabels, Review
from activelearning.store import Store
from tests.core.loops import drafts, hand_in, labelled_image


def test_the_last_review_of_an_image_wins_and_unopened_ones_are_no_truth() -> None:
    old, new, unopened = labelled_image("1.jpg", 0.2), labelled_image("1.jpg", 0.3), drafts("2.jpg")
    other = labelled_image("3.jpg")
    assert labelled.union([old, other, unopened], [new]) == (new, other)


def test_a_set_is_its_parents_and_new_uploads_in_their_order(store: Store) -> None:
    labelled.write(store.labels, "main/1", [labelled_image("1.jpg", 0.1), labelled_image("2.jpg", 0.1)], {"u"})
    names = [hand_in(store, "b1", ["2.jpg", "3.jpg"], 1, 0.2), hand_in(store, "b1", ["3.jpg"], 2, 0.3)]
    gathered = labelled.gather(store.labels, "main/1", names)
    assert gathered.problems == ()
    assert gathered.images == (labelled_image("1.jpg", 0.1), labelled_image("2.jpg", 0.2), labelled_image("3.jpg", 0.3))


@pytest.mark.parametrize(
    ("content", "what"), [(b"\xff\xfe", "cannot be read"), (b"no,table\n", "not a label table"), (None, "is gone from the store")]
)
def test_an_upload_that_is_spoilt_is_named_and_does_not_keep_the_others_out(store: Store, content: bytes | None, what: str) -> None:
    bad, good = layout.batch_reviewed("bad"), hand_in(store, "good", ["1.jpg"])
    if content is not None:
        store.labels.create(bad, content)
    gathered = labelled.gather(store.labels, "", [bad, good])
    assert [labels.image for labels in gathered.images] == ["1.jpg"]
    (problem,) = gathered.problems
    assert problem.where == bad and what in problem.what


@pytest.mark.parametrize("spoilt", [True, False])
def test_a_parent_that_is_gone_or_damaged_stops_the_run(store: Store, spoilt: bool) -> None:
    if spoilt:
        store.labels.create(layout.tagged("main/1"), table.table_bytes([labelled_image("1.jpg")]) + b"torn row\n")
    with pytest.raises(
        UserError, match=r"tagged/main/1\.csv row 3: .* put a copy" if spoilt else r"tagged/main/1\.csv is gone from the store"
    ):
        labelled.gather(store.labels, "main/1", ())


def test_writing_again_after_a_kill_writes_the_same(store: Store) -> None:
    for _ in range(2):
        labelled.write(store.labels, "main/1", [labelled_image("1.jpg")], ["u2", "u1"])
    assert labelled.read(store.labels, layout.tagged("main/1")).images == (labelled_image("1.jpg"),)


def test_a_run_that_belongs_to_other_uploads_is_not_taken_for_this_one(store: Store) -> None:
    labelled.write(store.labels, "main/1", [labelled_image("1.jpg")], ["u1"])
    with pytest.raises(UserError, match="run main/1 was begun before with other uploads"):
        labelled.write(store.labels, "main/1", [labelled_image("2.jpg")], ["u2"])


def test_a_table_that_is_not_there_yet_is_empty(store: Store) -> None:
    assert labelled.read(store.labels, layout.TEST).images == ()


def test_images_join_the_test_split_and_never_leave_it(store: Store) -> None:
    assert labelled.join_test(store.labels, [labelled_image("1.jpg", 0.1), drafts("unopened.jpg")]) == 1
    assert labelled.join_test(store.labels, [labelled_image("2.jpg")]) == 1
    assert labelled.join_test(store.labels, [labelled_image("1.jpg", 0.9), labelled_image("2.jpg")]) == 0
    assert _test_split(store) == [labelled_image("1.jpg", 0.9), labelled_image("2.jpg")]
    assert labelled.join_test(store.labels, []) == 0


def test_an_unopened_image_that_somebody_put_into_the_test_split_stays(store: Store) -> None:
    store.labels.create(layout.TEST, table.table_bytes([drafts("1.jpg")]))
    labelled.join_test(store.labels, [labelled_image("2.jpg")])
    assert [(labels.image, labels.review) for labels in _test_split(store)] == [("1.jpg", Review.UNOPENED), ("2.jpg", Review.REVIEWED)]


def test_a_test_split_with_a_damaged_row_is_not_written_over(store: Store) -> None:
    content = table.table_bytes([labelled_image("1.jpg")]) + b"torn row\n"
    store.labels.create(layout.TEST, content)
    with pytest.raises(UserError, match=r"test\.csv row 3: .* mend that row"):
        labelled.join_test(store.labels, [labelled_image("2.jpg")])
    assert store.labels.read(layout.TEST).content == content


def test_rivals_who_let_images_join_lose_none(store: Store) -> None:
    with ThreadPoolExecutor(8) as rivals:
        assert sum(rivals.map(lambda n: labelled.join_test(store.labels, [labelled_image(f"{n}.jpg")]), range(24))) == 24
    assert len(_test_split(store)) == 24


def _test_split(store: Store) -> list[ImageLabels]:
    return list(labelled.read(store.labels, layout.TEST).images)
