"""Why messages could not be handled: the sentence that travels with no poisoned message, kept where `status` finds it.

Rule: small, whatever goes wrong: a queue has one blob, of its last few sentences with the first messages that each was about. Only our
own sentences are kept; what another library says may hold an address with a key.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

from activelearning import events, layout
from activelearning.errors import ActiveLearningError, BlobChanged, BlobMissing, UserError
from activelearning.store import Blobs, Store

_MOST_REASONS = 20
_MOST_MESSAGES = 100
_TRIES = 5
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Failure:
    """A sentence, when it was first said (seconds since the epoch), and which messages it was about."""

    reason: str
    at: float
    about: tuple[str, ...]


@contextmanager
def noted(store: Store, queue: str, body: str, now: float) -> Iterator[None]:
    """While a message is handled: whatever is raised goes on its way, and its sentence is kept."""
    try:
        yield
    except Exception as error:
        # That the message failed must come through, even if there is no writing it down.
        with suppress(Exception):
            note(store.labels, queue, about(body), _sentence(error), now)
        raise


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, ActiveLearningError) else f"{type(error).__name__}, see the log of the functions"


def about(body: str) -> str:
    """What a message is about: `labels/batches/b1/reviewed.csv` of an event, `job train-1234` of a job's, or else its first words."""
    with suppress(ValueError, TypeError, KeyError):
        return f"job {json.loads(body)['job']}"
    with suppress(UserError):
        created = events.decode(body)
        return f"{created.container}/{created.name}"
    return repr(body[:_LONGEST])


def note(blobs: Blobs, queue: str, message: str, reason: str, now: float) -> None:
    """Keep why a message of a queue failed. The same again, or the hundredth message for the same reason, writes nothing."""
    for _ in range(_TRIES):
        known, etag = _read(blobs, layout.failures(queue))
        after = with_failure(known, message, reason, now)
        if after == known:
            return
        with suppress(BlobChanged):
            blobs.replace(layout.failures(queue), json.dumps([asdict(failure) for failure in after], indent=1).encode(), etag)
            return


def with_failure(known: tuple[Failure, ...], message: str, reason: str, now: float) -> tuple[Failure, ...]:
    """What is known after a message failed; its last reason is the one that counts."""
    same = next((failure for failure in known if failure.reason == reason), Failure(reason, now, ()))
    if message in same.about or len(same.about) >= _MOST_MESSAGES:
        return known
    others = (_without(failure, message) for failure in known if failure.reason != reason)
    after = [*(failure for failure in others if failure.about), replace(same, about=(*same.about, message))]
    return tuple(sorted(after, key=lambda failure: failure.at)[-_MOST_REASONS:])


def _without(failure: Failure, message: str) -> Failure:
    return replace(failure, about=tuple(one for one in failure.about if one != message))


def reasons(blobs: Blobs, queue: str) -> dict[str, str]:
    """Why messages of a queue failed, by what they are about, as far as it is known."""
    known, _ = _read(blobs, layout.failures(queue))
    return {message: failure.reason for failure in known for message in failure.about}


def _read(blobs: Blobs, name: str) -> tuple[tuple[Failure, ...], str | None]:
    try:
        blob = blobs.read(name)
    except BlobMissing:
        return (), None
    try:
        return tuple(Failure(str(f["reason"]), float(f["at"]), tuple(map(str, f["about"]))) for f in json.loads(blob.content)), blob.etag
    except (ValueError, TypeError, KeyError):
        # Only a note: a damaged one is begun anew, since nothing depends on it.
        return (), blob.etag
