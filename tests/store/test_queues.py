"""What every store promises about queues, and what `consume` makes of it."""

import pytest

from activelearning import consume, layout
from activelearning.errors import BlobNameError, MessageLost
from activelearning.store import Store, open_store
from tests.store.conftest import LOCAL, Clock


def test_a_message_is_delivered_until_it_is_deleted(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (message,) = store.queues.receive("work", visibility=clock.span(30))
    assert (message.body, message.dequeue_count) == ("body", 1)
    store.queues.delete("work", message)
    assert store.queues.count("work") == 0


def test_a_queue_without_messages_is_empty(store: Store, clock: Clock) -> None:
    assert store.queues.receive("work", clock.span(30)) == []
    assert store.queues.peek("work") == []
    assert store.queues.count("work") == 0


def test_a_body_comes_back_to_the_letter(store: Store, clock: Clock) -> None:
    body = '{"name": "Größe 木材 🪵"}\r\n\t"quoted" % \n'
    store.queues.send("work", body)
    assert store.queues.receive("work", clock.span(30))[0].body == body


def test_a_received_message_is_hidden_and_comes_back(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (first,) = store.queues.receive("work", visibility=clock.span(30))
    clock.passes(29)
    assert store.queues.receive("work", clock.span(30)) == []
    assert store.queues.count("work") == 1
    clock.passes(1)
    (second,) = store.queues.receive("work", clock.span(30))
    assert (second.id, second.dequeue_count) == (first.id, 2)
    assert second.inserted == pytest.approx(first.inserted, abs=1e-3)


def test_a_delayed_message_waits(store: Store, clock: Clock) -> None:
    store.queues.send("work", "later", delay=clock.span(60))
    store.queues.send("work", "now")
    assert [message.body for message in store.queues.receive("work", clock.span(30), limit=5)] == ["now"]
    clock.passes(60)
    assert {message.body for message in store.queues.receive("work", clock.span(30), limit=5)} == {"later", "now"}


def test_the_longest_visible_comes_first(store: Store, clock: Clock) -> None:
    for number in range(5):
        store.queues.send("work", str(number))
    clock.passes(1)
    store.queues.send("work", "young")
    received = [message.body for message in store.queues.receive("work", clock.span(30), limit=3)]
    assert received == ["0", "1", "2"]
    assert [message.body for message in store.queues.receive("work", clock.span(30), limit=32)] == ["3", "4", "young"]


def test_one_call_delivers_a_message_once(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    assert len(store.queues.receive("work", clock.span(30), limit=32)) == 1
    with pytest.raises(ValueError, match="seconds"):
        store.queues.receive("work", 0)


def test_renewal_keeps_a_message(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (message,) = store.queues.receive("work", visibility=clock.span(30))
    for _ in range(3):
        clock.passes(20)
        message = store.queues.renew("work", message, clock.span(30))
        assert store.queues.receive("work", clock.span(30)) == []
    assert message.dequeue_count == 1
    store.queues.delete("work", message)


def test_renewal_to_zero_gives_a_message_back(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (message,) = store.queues.receive("work", visibility=clock.span(600))
    store.queues.renew("work", message, 0)
    assert [again.dequeue_count for again in store.queues.receive("work", clock.span(30))] == [2]


def test_an_old_receipt_is_void_after_renewal(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (message,) = store.queues.receive("work", clock.span(30))
    clock.passes(1)
    renewed = store.queues.renew("work", message, clock.span(30))
    with pytest.raises(MessageLost):
        store.queues.delete("work", message)
    store.queues.delete("work", renewed)


def test_who_was_too_slow_has_lost_the_message(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (slow,) = store.queues.receive("work", visibility=clock.span(30))
    clock.passes(31)
    (quick,) = store.queues.receive("work", visibility=clock.span(30))
    for use in (lambda: store.queues.delete("work", slow), lambda: store.queues.renew("work", slow, clock.span(30))):
        with pytest.raises(MessageLost):
            use()
    store.queues.delete("work", quick)
    with pytest.raises(MessageLost):
        store.queues.delete("work", quick)


def test_who_was_too_slow_may_finish_while_nobody_else_has_it(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    (slow,) = store.queues.receive("work", visibility=clock.span(30))
    clock.passes(31)
    store.queues.delete("work", store.queues.renew("work", slow, clock.span(30)))
    assert store.queues.count("work") == 0


def test_peeking_takes_nothing(store: Store, clock: Clock) -> None:
    for number in range(5):
        store.queues.send("work", str(number))
    assert [message.body for message in store.queues.peek("work", limit=2)] == ["0", "1"]
    assert {(message.receipt, message.dequeue_count) for message in store.queues.peek("work")} == {("", 0)}
    assert len(store.queues.receive("work", clock.span(30), limit=32)) == 5


@pytest.mark.parametrize("kind", LOCAL)
def test_the_local_stores_show_hidden_messages_too(store: Store, clock: Clock) -> None:
    store.queues.send("work", "body")
    store.queues.receive("work", clock.span(30))
    assert [(message.body, message.dequeue_count) for message in store.queues.peek("work")] == [("body", 1)]


def test_a_message_names_things_and_carries_none(store: Store) -> None:
    with pytest.raises(ValueError, match="name what"):
        store.queues.send("work", "x" * 50_000)
    with pytest.raises(BlobNameError):
        store.queues.send("../work", "body")


def test_queues_survive_their_opener(url: str, clock: Clock) -> None:
    store = open_store(url)
    store.queues.send("work", "body")
    assert open_store(store.url).queues.receive("work", clock.span(30))[0].body == "body"


def test_a_failing_message_ends_in_the_poison_queue(store: Store, clock: Clock) -> None:
    store.queues.send("work", "bad")
    for attempt in range(layout.MAX_DEQUEUE_COUNT):
        (message,) = consume.take(store.queues, "work", visibility=clock.span(30))
        assert message.dequeue_count == attempt + 1
        clock.passes(31)
    assert consume.take(store.queues, "work", visibility=clock.span(30)) == []
    assert store.queues.count("work") == 0
    assert [message.body for message in store.queues.peek(layout.poison_queue("work"))] == ["bad"]


def test_poison_does_not_hide_good_messages(store: Store, clock: Clock) -> None:
    for number in range(3):
        store.queues.send("work", f"bad {number}")
    for _ in range(layout.MAX_DEQUEUE_COUNT):
        store.queues.receive("work", clock.span(30), limit=3)
        clock.passes(31)
    store.queues.send("work", "good")
    assert [message.body for message in consume.take(store.queues, "work", clock.span(30))] == ["good"]
    assert store.queues.count(layout.poison_queue("work")) == 3


def test_a_message_between_two_queues_is_in_both(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store.queues.send("work", "bad")
    for _ in range(layout.MAX_DEQUEUE_COUNT):
        store.queues.receive("work", clock.span(30))
        clock.passes(31)

    def killed(queue: str, message: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.queues, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            consume.take(store.queues, "work", clock.span(30))
    assert store.queues.count("work") == store.queues.count(layout.poison_queue("work")) == 1
    clock.passes(31)
    assert consume.take(store.queues, "work", clock.span(30)) == []
    assert (store.queues.count("work"), store.queues.count(layout.poison_queue("work"))) == (0, 2)
