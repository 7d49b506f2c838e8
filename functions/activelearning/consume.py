"""Take messages that are worth another try, and set aside those that are not.

Rule: a message moves to its poison queue by send, then delete: it may be there twice, it is never nowhere.
"""

import contextlib

from activelearning import layout
from activelearning.errors import MessageLost
from activelearning.store import Message, Queues


def take(queues: Queues, queue: str, visibility: float, limit: int = 1) -> list[Message]:
    """Receive up to `limit` messages, none only if none is visible.

    Who has failed `layout.MAX_DEQUEUE_COUNT` times is moved to `layout.poison_queue(queue)`, as the Functions host does it.
    """
    while messages := queues.receive(queue, visibility, limit):
        worn = [message for message in messages if message.dequeue_count > layout.MAX_DEQUEUE_COUNT]
        for message in worn:
            _set_aside(queues, queue, message)
        if len(worn) < len(messages):
            return [message for message in messages if message not in worn]
    return []


def _set_aside(queues: Queues, queue: str, message: Message) -> None:
    queues.send(layout.poison_queue(queue), message.body)
    # Lost means that a rival is setting the same message aside.
    with contextlib.suppress(MessageLost):
        queues.delete(queue, message)
