"""Claims: no image is ever with two people, none is lost, and a batch costs what a batch costs."""

import itertools
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings as budget
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from activelearning import claims, layout, state, steps, table
from activelearning.claims import Wanted
from activelearning.errors import FormatError, UserError
from activelearning.labels import ImageLabels, Review
from activelearning.settings import Policy
from activelearning.state import Batch
from activelearning.store import Store, open_store
from tests.core import loops
from tests.core.loops import SETTINGS, Clock, drafts, hand_in, labelled_image, list_pool
from tests.store.rivals import ROOT

NOW = 1_000_000.0


def _claim(store: Store, batch: str, count: int = 2, wanted: Wanted = Wanted(), now: float = NOW) -> list[str]:  # noqa: B008
    held, rows = claims.claim(store.labels, batch, "me", count, wanted, now, 3)
    assert [claimed.image for claimed in held.claimed] == [labels.image for labels in rows]
    return [labels.image for labels in rows]


def _pool(store: Store, images: Iterable[ImageLabels]) -> None:
    list_pool(store, table.table_bytes(images))


def test_images_are_handed_out_in_order_with_their_rows(store: Store) -> None:
    pool = [drafts(f"a/{n}.jpg", boxes=n % 3) for n in range(6)]
    _pool(store, pool)
    held, rows = claims.claim(store.labels, "b1", "ann", 4, Wanted(), NOW, 3)
    assert list(rows) == pool[:4]
    assert (held.tagger, held.claimed_at, held.expires_at) == ("ann", NOW, NOW + 3 * 86_400)
    assert _claim(store, "b2", 4) == ["a/4.jpg", "a/5.jpg"]
    with pytest.raises(UserError, match="every image of the pool is reviewed or with a tagger"):
        _claim(store, "b3")


def test_the_same_batch_is_the_same_claim_even_after_a_new_totag(store: Store) -> None:
    pool = [drafts(f"{n}.jpg", boxes=2) for n in range(6)]
    _pool(store, pool)
    first = claims.claim(store.labels, "b1", "me", 3, Wanted(), NOW, 3)
    list_pool(store, table.table_bytes(reversed(pool)), "totag/main/1.csv")
    assert claims.claim(store.labels, "b1", "me", 1, Wanted(folder="x"), NOW + 9, 3) == first
    assert _claim(store, "b2", 9) == ["5.jpg", "4.jpg", "3.jpg"]


def test_one_batch_asked_for_twice_at_once_is_one_claim_with_its_own_rows(store: Store) -> None:
    _pool(store, map(drafts, ("1.jpg", "2.jpg", "3.jpg")))
    slow = loops.interrupted(store.labels, "replace", lambda: _claim(store, "b1", 1, Wanted(folder="")) and _claim(store, "b2", 1))
    held, rows = claims.claim(slow, "b1", "me", 3, Wanted(), NOW, 3)
    assert [claimed.image for claimed in held.claimed] == [labels.image for labels in rows] == ["1.jpg"]


def test_released_images_come_first_again(store: Store) -> None:
    _pool(store, map(drafts, ("1.jpg", "2.jpg", "3.jpg", "4.jpg")))
    assert _claim(store, "b1") == ["1.jpg", "2.jpg"] and _claim(store, "b2", 1) == ["3.jpg"]
    assert (claims.release(store.labels, "b1"), claims.release(store.labels, "b1")) == (2, 0)
    assert _claim(store, "b3", 9) == ["1.jpg", "2.jpg", "4.jpg"]


def test_what_is_reviewed_is_not_given_back_even_if_no_event_has_told_of_it(store: Store) -> None:
    _pool(store, map(drafts, ("1.jpg", "2.jpg", "3.jpg")))
    _claim(store, "b1", 3)
    hand_in(store, "b1", ["2.jpg"])
    assert claims.release(store.labels, "b1") == 2
    assert _claim(store, "b2", 3) == ["1.jpg", "3.jpg"]
    with pytest.raises(UserError, match="batch b1 was given back or has expired"):
        _claim(store, "b1")


def test_an_expired_claim_keeps_what_was_reviewed_although_its_event_is_late(store: Store, clock: Clock) -> None:
    store.images.create("1.jpg", b"x")
    _pool(store, map(drafts, ("1.jpg", "2.jpg")))
    _claim(store, "b1", 2, now=clock())
    hand_in(store, "b1", ["1.jpg"])
    steps.advance(store, clock.later(3 * 86_400))
    assert _claim(store, "b2", 2) == ["2.jpg"]


@pytest.mark.parametrize(
    ("wanted", "images"),
    [
        (Wanted(), ["a/1", "a/b/2", "ab/3", "4"]),
        (Wanted(folder="a"), ["a/1", "a/b/2"]),
        (Wanted(folder="/a/b/"), ["a/b/2"]),
        (Wanted(folder="/"), ["a/1", "a/b/2", "ab/3", "4"]),
        (Wanted(label="fish"), ["a/b/2"]),
        (Wanted(min_confidence=0.5), ["a/1", "ab/3"]),
        (Wanted(max_confidence=0.4), ["a/b/2"]),
        (Wanted(label="bird", min_confidence=0.9), ["ab/3"]),
    ],
)
def test_a_tagger_gets_only_what_was_asked_for(wanted: Wanted, images: list[str]) -> None:
    store = open_store("memory:")
    _pool(store, [drafts("a/1"), drafts("a/b/2", 1, 0.3, "fish"), drafts("ab/3", 1, 0.9), drafts("4", 0)])
    assert _claim(store, "b1", 9, wanted) == images
    with pytest.raises(UserError, match="no image that is free matches" if wanted != Wanted() else "every image of the pool"):
        _claim(store, "b2", 9, wanted)


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_a_senseless_count_is_refused(count: int) -> None:
    with pytest.raises(UserError, match="ask for 1 to 10,000"):
        _claim(open_store("memory:"), "b1", count)


def test_without_a_totag_there_is_a_word_of_advice() -> None:
    with pytest.raises(UserError, match="there is nothing to review yet: upload images"):
        _claim(open_store("memory:"), "b1")


FOREIGN = "extra,filename,class,xmin,xmax,ymin,ymax,folder,note"
HOSTILE = [
    'x,1.jpg,bird,0.1,0.5,0.2,0.6,a,"quoted, with ""quotes"""',
    "this row makes no sense",
    "x,1.jpg,fish,0.1,0.5,0.2,0.6,a,",
    "x,1.jpg,bird,0.9,0.5,0.2,0.6,a,swapped corners",
    'x,2.jpg,NULL,0,0,0,0,a,"a quote that never ends',
    "",
    "x,../3.jpg,NULL,0,0,0,0,a,",
    "x,1.jpg,bird,0.3,0.5,0.2,0.6,a,the same image further down",
    "x,4.jpg,NULL,0,0,0,0,,",
    "x,\ufeff5.jpg,NULL,0,0,0,0,,",
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["final-newline", "no-final-newline"])
def test_a_hostile_totag_hands_every_sensible_image_to_one_person(store: Store, end: str, last: bool) -> None:
    text = "\ufeff" + end.join((FOREIGN, *HOSTILE)) + end * last
    list_pool(store, text.encode().replace(b"this row", b"this \xff\xfe row"))
    images = [_claim(store, f"b{n}", 1) for n in range(4)]
    assert images == [["a/1.jpg"], ["a/2.jpg"], ["4.jpg"], ["\ufeff5.jpg"]]
    _, rows = claims.claim(store.labels, "b0", "me", 1, Wanted(), NOW, 3)
    assert [box.label for box in rows[0].boxes] == ["bird", "fish"]
    with pytest.raises(UserError, match="every image of the pool"):
        _claim(store, "b9", 1)


@pytest.mark.parametrize("content", [b"", b"\xff\xff\n", b"filename,class\n1.jpg,bird\n"])
def test_a_totag_without_its_columns_is_one_sentence(content: bytes) -> None:
    store = open_store("memory:")
    list_pool(store, content)
    with pytest.raises(FormatError, match=r"totag/main/0\.csv: this is not a label table"):
        _claim(store, "b1")


def test_a_header_longer_than_a_read_and_a_mask_longer_than_a_csv_field_are_no_trouble() -> None:
    store = open_store("memory:")
    header = ",".join(("filename", "class", "xmin", "xmax", "ymin", "ymax", "mask", *(f"column{n}" for n in range(9000))))
    # every pixel a run of its own: after the third, runs are told by how they differ from the one before the last
    mask = '"{""size"":[400,500],""counts"":""' + "111" + "0" * 199_997 + '""}"'
    row = "1.jpg,bird,0,1,0,1," + mask + "," * 9000
    list_pool(store, f"{header}\n{row}\n".encode())
    assert _claim(store, "b1", 1) == ["1.jpg"]


def test_claims_scattered_by_filters_are_skipped_without_a_request_for_each() -> None:
    store = open_store("memory:")
    pool = [drafts(f"cam-{n % 2}/{n}.jpg") for n in range(400)]
    _pool(store, pool)
    _claim(store, "odd", 200, Wanted(folder="cam-1"))
    counted = _Counting(store.labels)
    held, _ = claims.claim(counted, "even", "me", 200, Wanted(), NOW, 3)  # type: ignore[arg-type]
    assert [claimed.image for claimed in held.claimed] == [labels.image for labels in pool[::2]]
    assert counted.requests < 20


class _Counting:
    """The real blobs, with a count of requests and bytes read."""

    def __init__(self, blobs: object):
        self._blobs, self.requests, self.read_bytes = blobs, 0, 0

    def __getattr__(self, method: str) -> object:
        def call(*arguments: object) -> object:
            self.requests += 1
            found = getattr(self._blobs, method)(*arguments)
            self.read_bytes += len(getattr(found, "content", found)) if method in ("read", "read_range") else 0
            return found

        return call


def test_a_claim_reads_what_its_batch_takes_however_much_is_claimed_at_the_head(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    _pool(store, (drafts(f"cam-{n % 9}/{n:06d}.jpg", 5) for n in range(12_000)))
    groups = list(itertools.islice(claims.walk(store.labels, "totag/main/0.csv"), 4000))
    held = tuple(state.Claimed(group.labels.image, group.start, group.stop) for group in groups)
    state.update(store.labels, lambda before: before.with_batch(Batch("others", "you", before.totag, held, 0.0, 1e12)))
    counted = _Counting(store.labels)
    held_by_me, _ = claims.claim(counted, "mine", "me", 40, Wanted(), NOW, 3)  # type: ignore[arg-type]
    assert held_by_me.claimed[0].start == groups[-1].stop
    assert counted.read_bytes < 1_000_000 and counted.requests < 10


def test_fifty_taggers_at_once_share_no_image(store: Store) -> None:
    _pool(store, (drafts(f"{n}.jpg") for n in range(120)))
    with ThreadPoolExecutor(50) as people:
        batches = list(people.map(lambda n: _claim(store, f"b{n}", 2), range(50)))
    images = list(itertools.chain.from_iterable(batches))
    assert len(images) == len(set(images)) == 100 and set(images) == {f"{n}.jpg" for n in range(100)}


def _doubted(store: Store, images: Iterable[str], run: str = "main/1") -> None:
    """A committed run with a list of doubtful labels, on the state as it stands."""
    store.labels.create(layout.review(run), table.table_bytes(labelled_image(image, review=Review.UNOPENED) for image in images))
    state.update(store.labels, lambda before: replace(before, run=run))


def _claim_doubted(store: Store, batch: str, count: int = 2, wanted: Wanted = Wanted()) -> list[str]:  # noqa: B008
    held, rows = claims.claim(store.labels, batch, "me", count, wanted, NOW, 3, claims.REVIEW)
    assert layout.is_review(held.totag) and [claimed.image for claimed in held.claimed] == [labels.image for labels in rows]
    return [labels.image for labels in rows]


def test_doubtful_labels_are_handed_out_in_order_with_the_labels_as_they_are(store: Store) -> None:
    _pool(store, map(drafts, ("1.jpg", "2.jpg")))
    _doubted(store, ["a.jpg", "b.jpg", "c.jpg"])
    held, rows = claims.claim(store.labels, "b1", "ann", 2, Wanted(), NOW, 3, claims.REVIEW)
    assert rows == tuple(labelled_image(image, review=Review.UNOPENED) for image in ("a.jpg", "b.jpg"))
    assert (held.totag, held.expires_at) == (layout.review("main/1"), NOW + 3 * 86_400)
    assert _claim_doubted(store, "b2") == ["c.jpg"]
    with pytest.raises(UserError, match="every image on the list of doubtful labels is with a tagger or was reviewed again"):
        _claim_doubted(store, "b3")
    with pytest.raises(UserError, match="no image that is free matches"):
        _claim_doubted(store, "b3", 1, Wanted(folder="x"))
    assert _claim(store, "b4") == ["1.jpg", "2.jpg"]


def test_without_a_list_of_doubtful_labels_there_is_a_word_of_advice(store: Store) -> None:
    with pytest.raises(UserError, match="there is no list of doubtful labels: each training writes one"):
        _claim_doubted(store, "b1")
    # a run of an older version
    _pool(store, map(drafts, ("1.jpg",)))
    with pytest.raises(UserError, match="there is no list of doubtful labels: each training writes one"):
        _claim_doubted(store, "b1")
    assert state.load(store.labels).batches == {}


def test_an_image_is_never_in_a_claim_of_the_pool_and_in_one_of_doubtful_labels(store: Store) -> None:
    # a foreign table, or one of an older run, may list an image that is in the other list too
    _pool(store, map(drafts, ("both.jpg", "1.jpg", "also.jpg")))
    _doubted(store, ["also.jpg", "both.jpg", "a.jpg"])
    assert _claim(store, "b1") == ["both.jpg", "1.jpg"]
    assert _claim_doubted(store, "b2", 9) == ["also.jpg", "a.jpg"]
    with pytest.raises(UserError, match="every image of the pool"):
        _claim(store, "b3")


def test_a_doubtful_image_that_was_reviewed_again_is_not_handed_out_a_third_time(store: Store) -> None:
    _pool(store, map(drafts, ("1.jpg",)))
    _doubted(store, ["a.jpg", "b.jpg", "c.jpg"])
    assert _claim_doubted(store, "b1") == ["a.jpg", "b.jpg"]
    steps.note_upload(store, hand_in(store, "b1", ["a.jpg"]), NOW)
    assert claims.release(store.labels, "b1") == 1
    assert _claim_doubted(store, "b2", 9) == ["b.jpg", "c.jpg"]


def test_a_claim_of_doubtful_labels_expires_like_any_other_and_outlives_the_next_list(store: Store, clock: Clock) -> None:
    _pool(store, map(drafts, ("1.jpg",)))
    _doubted(store, ["a.jpg", "b.jpg"])
    held, rows = claims.claim(store.labels, "b1", "me", 1, Wanted(), clock(), 3, claims.REVIEW)
    _doubted(store, ["b.jpg", "a.jpg"], "main/2")
    assert claims.claim(store.labels, "b1", "me", 1, Wanted(), clock(), 3, claims.REVIEW) == (held, rows)
    assert _claim_doubted(store, "b2", 9) == ["b.jpg"]
    claims.release(store.labels, "b2")
    steps.advance(store, clock.later(3 * 86_400))
    assert _claim_doubted(store, "b3", 9) == ["b.jpg", "a.jpg"]


def test_rivals_for_doubtful_labels_share_no_image(store: Store) -> None:
    _pool(store, map(drafts, ("1.jpg",)))
    _doubted(store, (f"{n}.png" for n in range(30)))
    with ThreadPoolExecutor(12) as people:
        batches = list(people.map(lambda n: _claim_doubted(store, f"b{n}", 2), range(12)))
    images = list(itertools.chain.from_iterable(batches))
    assert len(images) == len(set(images)) == 24


CLAIM = """
import sys
from activelearning import claims
from activelearning.store import open_store
url, me = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(4):
    _, rows = claims.claim(open_store(url).labels, f"{me}-{turn}", me, 3, claims.Wanted(), 0.0, 1e9)
    print(*(labels.image for labels in rows))
"""


def test_processes_share_no_image_either(tmp_path: Path) -> None:
    _pool(open_store(str(tmp_path)), (drafts(f"{n}.jpg") for n in range(60)))
    rivals = [
        subprocess.Popen([sys.executable, "-c", CLAIM, str(tmp_path), f"p{n}"], cwd=ROOT / "functions", stdin=-1, stdout=-1)
        for n in range(4)
    ]
    assert all(rival.stdout and rival.stdout.readline() == b"ready\n" for rival in rivals)
    images = b" ".join(rival.communicate(b"\n")[0] for rival in rivals).split()
    assert len(images) == len(set(images)) == 48


class Taggers(RuleBasedStateMachine):
    """Claims against a brute-force model: who has what, what is reviewed, and in which order the rest comes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = open_store("memory:", self.clock)
        loops.make_project(self.store, replace(SETTINGS, policy=Policy(train_after=10**9, claim_days=3)))
        self.order = [f"cam-{n % 3}/{n}.jpg" for n in range(12)]
        self.held: dict[str, tuple[float, list[str]]] = {}
        self.reviewed: set[str] = set()
        self.everything = set(self.order)
        self.trained: set[str] = set()
        self.numbers = itertools.count(1)
        list_pool(self.store, table.table_bytes(map(drafts, self.order)))

    def _free(self) -> list[str]:
        taken = {image for _, images in self.held.values() for image in images} | self.reviewed
        return [image for image in self.order if image not in taken]

    @rule(count=st.integers(1, 5), folder=st.sampled_from(["", "cam-0", "cam-1"]))
    def claim(self, count: int, folder: str) -> None:
        """Somebody asks for images."""
        batch, expected = f"b{next(self.numbers)}", [image for image in self._free() if image.startswith(folder)][:count]
        if not expected:
            with pytest.raises(UserError):
                _claim(self.store, batch, count, Wanted(folder=folder), self.clock())
            return
        assert _claim(self.store, batch, count, Wanted(folder=folder), self.clock()) == expected
        self.held[batch] = (self.clock() + 3 * 86_400, expected)

    @precondition(lambda self: self.held)
    @rule(draw=st.data())
    def claim_again(self, draw: st.DataObject) -> None:
        """A download that was cut off goes on."""
        batch = draw.draw(st.sampled_from([*self.held]))
        left = [image for image in self.held[batch][1] if image not in self.trained]
        if left:
            assert _claim(self.store, batch, 9) == left

    @precondition(lambda self: self.held)
    @rule(draw=st.data())
    def release(self, draw: st.DataObject) -> None:
        """Somebody gives a batch back."""
        batch = draw.draw(st.sampled_from([*self.held]))
        freed = [image for image in self.held.pop(batch)[1] if image not in self.reviewed]
        assert claims.release(self.store.labels, batch) == len(freed)

    @precondition(lambda self: self.held)
    @rule(draw=st.data(), told=st.booleans())
    def upload(self, draw: st.DataObject, told: bool) -> None:
        """Somebody hands in some images of a batch, and perhaps nobody hears of it yet."""
        batch = draw.draw(st.sampled_from([*self.held]))
        images = draw.draw(st.lists(st.sampled_from(self.held[batch][1]), min_size=1, unique=True))
        version = next(n for n in itertools.count(1) if not self.store.labels.exists(layout.batch_reviewed(batch, n)))
        name = hand_in(self.store, batch, images, version)
        if told:
            steps.note_upload(self.store, name, self.clock())
        self.reviewed |= {*images}

    @rule(days=st.sampled_from([0.5, 2.0, 4.0]))
    def time_passes(self, days: float) -> None:
        """Claims may expire."""
        self.clock.later(days * 86_400)
        steps.advance(self.store, self.clock())
        self.held = {batch: claim for batch, claim in self.held.items() if claim[0] > self.clock()}

    @rule(draw=st.data(), new=st.integers(0, 4))
    def train(self, draw: st.DataObject, new: int) -> None:
        """All that is reviewed is trained on, and the rest is listed in a new order, with new images."""
        for name in list(steps.lost_uploads(self.store)):
            steps.note_upload(self.store, name, self.clock())
        fresh = [f"cam-{n % 3}/{n}.jpg" for n in (100 + next(self.numbers) for _ in range(new))]
        self.everything |= {*fresh}
        self.order = draw.draw(st.permutations(sorted(self.everything - self.reviewed)))
        loops.commit_everything(self.store, map(drafts, self.order))
        self.trained |= self.reviewed

    @invariant()
    def nobody_shares(self) -> None:
        """The state says what the model says."""
        current = state.load(self.store.labels)
        live = [c.image for batch in current.batches.values() if batch.expires_at for c in batch.claimed]
        assert len(live) == len(set(live))
        assert {*live} - self.reviewed == {image for _, images in self.held.values() for image in images} - self.reviewed


TestTaggers = Taggers.TestCase
TestTaggers.settings = budget(max_examples=60, stateful_step_count=30, deadline=None)
