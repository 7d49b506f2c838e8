"""What is suspected of labels: written whole, read from the head as far as needed, whatever stands in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activelearning import suspicions
from activelearning.errors import BoxError
from activelearning.labels import Box
from activelearning.store import open_store
from activelearning.suspicions import Suspicion

NAME = "review/main/1-suspicions.csv"
MISSED = Suspicion("missed", Box("bird", 0.1, 0.2, 0.3, 0.4), "bird", 0.9)
SWAPPED = Suspicion("swapped", Box("fish, fried", 0.5, 0.5, 0.75, 1.0), 'a "bird"', 0.25)

SIDE = st.tuples(st.integers(0, 99), st.integers(1, 100)).map(lambda one: (one[0] / 100, min(one[0] + one[1], 100) / 100))
BOX = st.tuples(SIDE, SIDE).map(lambda sides: (sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=9).filter(
    lambda text: text != "NULL" and text == text.strip() and text.isprintable() and text[0] not in "=+-@"
)
ONE = st.builds(
    lambda kind, label, box, seen, probability: Suspicion(kind, Box(label, *box), seen, probability),
    st.sampled_from(["missed", "shifted", "swapped", "spurious"]),
    TEXT,
    BOX,
    st.one_of(st.just(""), TEXT),
    st.floats(0, 1),
)


@given(st.lists(st.lists(ONE, max_size=3), max_size=5))
def test_what_was_written_is_read(found: list[list[Suspicion]]) -> None:
    store = open_store("memory:")
    images = {f"cam, {n}/{n}.jpg": one for n, one in enumerate(found)}
    store.labels.create(NAME, suspicions.to_bytes(images.items()))
    assert suspicions.read(store.labels, NAME, list(images)) == images


def test_only_the_images_asked_for_are_read_and_no_further_than_the_last() -> None:
    store = open_store("memory:")
    many = [(f"{n:06d}.jpg", (MISSED, SWAPPED) if n % 2 else ()) for n in range(40_000)]
    store.labels.create(NAME, suspicions.to_bytes(many))
    reads: list[int] = []

    class Counted:
        head = staticmethod(store.labels.head)

        @staticmethod
        def read_range(name: str, start: int, length: int) -> bytes:
            reads.append(length)
            return store.labels.read_range(name, start, length)

    found = suspicions.read(Counted(), NAME, ["000003.jpg", "000002.jpg"])  # type: ignore[arg-type]
    assert found == {"000003.jpg": [MISSED, SWAPPED], "000002.jpg": []}
    assert sum(reads) < 100_000 < store.labels.head(NAME).size


def test_rows_that_make_no_sense_are_passed_over() -> None:
    store = open_store("memory:")
    head, *rows = suspicions.to_bytes([("a.jpg", [MISSED])]).decode().splitlines()
    bad = [
        "a.jpg,,missed,bird,bird,nan,0.3,0.2,0.4,0.9",
        "a.jpg,,missed,bird,bird,0.1,0.3,0.2,0.4,7",
        "a.jpg,,=1+1,bird,bird,0.1,0.3,0.2,0.4,0.9",
        "a.jpg,..,missed,bird,bird,0.1,0.3,0.2,0.4,0.9",
        "a.jpg,,missed,bird,=1+1,0.1,0.3,0.2,0.4,0.9",
        "a.jpg,,missed,=1+1,bird,0.1,0.3,0.2,0.4,0.9",
        "a.jpg,,missed,bird,bi\x1b[2Jrd,0.1,0.3,0.2,0.4,0.9",
        "a.jpg,,missed,bird,NULL,0.1,0.3,0.2,0.4,0.9",
        "a.jpg,,missed,bird",
        '"',
        "",
    ]
    store.labels.create(NAME, "\n".join([head, *bad, *rows]).encode() + b"\n\xff\xfe\n")
    assert suspicions.read(store.labels, NAME, ["a.jpg"]) == {"a.jpg": [MISSED]}
    assert suspicions.read(store.labels, "review/main/9-suspicions.csv", ["a.jpg"]) == {"a.jpg": []}


@pytest.mark.parametrize(("kind", "probability"), [("", 0.5), ("two words", 0.5), ("missed", 1.5), ("missed", float("nan"))])
def test_a_senseless_suspicion_is_refused(kind: str, probability: float) -> None:
    with pytest.raises(BoxError):
        Suspicion(kind, MISSED.box, "bird", probability)


def test_a_sign_alone_is_a_class_and_no_formula() -> None:
    store = open_store("memory:")
    pole = Suspicion("swapped", Box("+", 0.1, 0.2, 0.3, 0.4), "-", 0.9)
    store.labels.create(NAME, suspicions.to_bytes([("a.jpg", [pole])]))
    assert suspicions.read(store.labels, NAME, ["a.jpg"]) == {"a.jpg": [pole]}
