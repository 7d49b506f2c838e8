"""Names of blobs: what is made can be read back, and no name climbs out of its container."""

import pytest

from activelearning import layout
from activelearning.errors import BlobNameError


@pytest.mark.parametrize(("version", "name"), [(1, "batches/b1/reviewed.csv"), (2, "batches/b1/reviewed-2.csv")])
def test_a_review_says_which_batch_and_which_version_it_is(version: int, name: str) -> None:
    assert layout.batch_reviewed("b1", version) == name
    assert (layout.batch_of_reviewed(name), layout.version_of_reviewed(name)) == ("b1", version)
    assert name.startswith(layout.batch_folder("b1")) and name.startswith(layout.BATCHES)


@pytest.mark.parametrize("name", ["batches/b1/totag.csv", "batches/b1/original.json", "batches/a/b/reviewed.csv", "reviewed.csv", ""])
def test_other_blobs_are_no_reviews(name: str) -> None:
    assert layout.batch_of_reviewed(name) is None
    assert layout.version_of_reviewed(name) == 0


@pytest.mark.parametrize(("run", "number"), [("main/3", 3), ("main/0", 0), ("", 0), ("main", 0), ("main/x", 0)])
def test_a_run_has_a_number(run: str, number: int) -> None:
    assert layout.iteration_of(run) == number
    assert layout.iteration_of(layout.run_name("main", 17)) == 17


@pytest.mark.parametrize("fault", ["", "a//b", "../a", "a/./b", "/a", "a/", "a\nb", "a\\b", "a\x85b", "\ud800", "x" * 1025])
def test_a_name_that_could_do_harm_is_refused(fault: str) -> None:
    with pytest.raises(BlobNameError, match="rename the file"):
        layout.check_blob_name(fault)


@pytest.mark.parametrize("fault", ["", "a/b", "..", ".a", "a b", "x" * 101, "ä"])
def test_an_id_is_one_plain_part_of_a_name(fault: str) -> None:
    with pytest.raises(BlobNameError):
        layout.batch_totag(fault)


@pytest.mark.parametrize("image", ["a.jpg", "a/b/c.jpg", "a/ .jpg", "\ufeffa.jpg"])
def test_folder_and_file_name_make_the_image_again(image: str) -> None:
    assert layout.join_image(*layout.split_image(image)) == image


def test_an_image_is_known_by_its_suffix() -> None:
    assert [name for name in ("a.JPG", "b.png", "c.txt", "jpg", "d.jpg.part") if layout.is_image(name)] == ["a.JPG", "b.png"]
