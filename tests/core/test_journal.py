"""The audit trail: entries sort by time, none is lost to a rival."""

from concurrent.futures import ThreadPoolExecutor

from activelearning import journal
from activelearning.store import Store

DAY = 86_400.0


def test_entries_come_in_the_order_of_their_times_whoever_wrote_first(store: Store) -> None:
    for now in (DAY + 3.5, 2.0, DAY + 3.25):
        journal.write(store.labels, "me", "did", now, count=1)
    assert [entry["at"] for entry in journal.read(store.labels)] == [
        "1970-01-01T00:00:02.000000Z",
        "1970-01-02T00:00:03.250000Z",
        "1970-01-02T00:00:03.500000Z",
    ]
    assert [entry["count"] for entry in journal.read(store.labels, "1970-01-01")] == [1]


def test_many_at_the_same_instant_are_all_there(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: journal.write(store.labels, "me", "did", 1.0, n=n), range(40)))
    assert sorted(entry["n"] for entry in journal.read(store.labels)) == list(range(40))
