"""Tell the queues about new blobs, as Event Grid does in the cloud.

Rule: the blob comes first and is durable; a lost event costs time, never data, because the timer looks at the records anyway.
"""

import contextlib
from collections.abc import Callable

from activelearning import events
from activelearning.errors import UserError
from activelearning.store.port import Queues

Announce = Callable[[str, int, str], None]
"""Called with a new blob's name, size in bytes and etag."""


def announcer(container: str, queues: Queues, clock: Callable[[], float], shown: str = "") -> Announce:
    """Return what a container calls after each write: one event to every queue that subscribed to such a blob.

    `container` is what it is to the loop, `shown` its name in the account where that differs.
    """

    def announce(name: str, size: int, etag: str) -> None:
        for subscription in events.SUBSCRIPTIONS:
            if subscription.matches(container, name):
                # The writer's blob is safe: if the disk has no room left for the event, that must not look like a failed write.
                with contextlib.suppress(OSError, UserError):
                    queues.send(subscription.queue, events.blob_created(shown or container, name, size, etag, clock()))

    return announce
