"""The queue through which trainers divide a prediction: its messages name shards of a job, and carry nothing.

Rule: nothing here loads what is heavy, so that a trainer may wait for messages without it.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from activelearning import consume, layout
from activelearning.errors import MessageLost, StoreError, UserError
from activelearning.store import Message, Queues

MAX_MESSAGES = 1000
_VISIBILITY_SECONDS = 60.0
"""Long enough to load a model."""
_RENEW_SECONDS = 10.0
_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a message asks for: the shards `first` to `stop` of a job, those that are there already left out."""

    job: str
    first: int
    stop: int

    def encode(self) -> str:
        """The message."""
        return json.dumps(asdict(self))


def decode(body: str) -> Asked | None:
    """What a message asks for; None where it is no such message."""
    with suppress(ValueError, TypeError, KeyError, OverflowError):
        asked = json.loads(body)
        return Asked(str(asked["job"]), int(asked["first"]), int(asked["stop"]))
    return None


def divided(job: str, numbers: Sequence[int]) -> list[Asked]:
    """The messages for these shards, given in order: one a shard, or as many more as keep the messages to `MAX_MESSAGES`."""
    each = -(-len(numbers) // MAX_MESSAGES)
    pieces = (numbers[start : start + each] for start in range(0, len(numbers), max(each, 1)))
    return [Asked(job, piece[0], piece[-1] + 1) for piece in pieces]


def take(queues: Queues) -> Message | None:
    """The next message, hidden from others for a while; None: the queue shows none."""
    return next(iter(consume.take(queues, layout.SHARDS_QUEUE, _VISIBILITY_SECONDS)), None)


@contextmanager
def held(queues: Queues, message: Message, after_image: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Yield what to call after each image so that the message stays ours; in the end it is deleted, or given back after an error."""
    renewed = time.monotonic()

    def keep() -> None:
        nonlocal message, renewed
        after_image()
        if time.monotonic() - renewed > _RENEW_SECONDS:
            renewed = time.monotonic()
            # If it is with another trainer too, or the store is out of reach for a while, a shard may be made twice.
            with suppress(StoreError, UserError, OSError):
                message = queues.renew(layout.SHARDS_QUEUE, message, _VISIBILITY_SECONDS)

    try:
        yield keep
    except BaseException:
        # A store out of reach gives it back by itself, and must not hide what went wrong.
        with suppress(StoreError, UserError, OSError):
            queues.renew(layout.SHARDS_QUEUE, message, _RETRY_SECONDS)
        raise
    with suppress(MessageLost):
        queues.delete(layout.SHARDS_QUEUE, message)
