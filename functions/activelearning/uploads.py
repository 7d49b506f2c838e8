"""Reviewed uploads on their way from the blobs into the state.

Rule: the blob is the acknowledgement, the state only a note of it. Whoever looks at a batch notes all its reviews that are neither
in the state nor in the labelled set, in one write and in their order, so an event that is late or lost changes nothing.
"""

from collections.abc import Iterator
from functools import reduce

from activelearning import commits, journal, labelled, layout, state
from activelearning.labels import Review
from activelearning.state import State, Upload
from activelearning.store import Blobs
from activelearning.store.port import BlobInfo

_AT_ONCE = 100
"""Batches of lost uploads that are noted in one write."""


def take_in(blobs: Blobs, *batches: str) -> None:
    """Note every review of some batches that waits for training; an upload arrived when its blob was made."""
    before = state.load(blobs)
    new = [_upload(blobs, info, batch) for batch in batches for info in _waiting(blobs, before, batch)]

    def note(current: State) -> State:
        # A commit in between may have trained on them; its sequence tells, and the next look reads its list of uploads.
        if current.sequence != before.sequence:
            return current
        return reduce(State.with_upload, (upload for upload in new if upload.name not in current.uploads), current)

    if new and state.update(blobs, note).sequence != before.sequence:
        take_in(blobs, *batches)


def _waiting(blobs: Blobs, before: State, batch: str) -> Iterator[BlobInfo]:
    """The reviews of a batch that neither the state nor the labelled set knows."""
    reviews = (info for info in blobs.list(layout.batch_folder(batch)) if layout.batch_of_reviewed(info.name))
    return (i for i in reviews if i.name not in before.uploads and not commits.has_consumed(blobs, before.run, i.name))


def _upload(blobs: Blobs, info: BlobInfo, batch: str) -> Upload:
    reading = labelled.read_upload(blobs, info.name)
    if not reading.images and reading.problems:
        # It is noted all the same: it would come up at every sweep, and the training job says it once more.
        journal.write(blobs, "loop", "upload unreadable", info.modified, batch=batch, problem=str(reading.problems[0]))
    images = tuple(labels.image for labels in reading.images if labels.review is Review.REVIEWED)
    return Upload(info.name, batch, images, info.modified)


def take_in_lost(blobs: Blobs) -> None:
    """Note every reviewed upload of which no event told, many in one write."""
    batches = list(dict.fromkeys(layout.batch_of_reviewed(name) or "" for name in lost(blobs)))
    for start in range(0, len(batches), _AT_ONCE):
        take_in(blobs, *batches[start : start + _AT_ONCE])


def lost(blobs: Blobs) -> Iterator[str]:
    """Names of the reviewed uploads that neither the state nor the labelled set knows."""
    current = state.load(blobs)
    known = commits.consumed(blobs, current.run) | current.uploads.keys()
    return (info.name for info in blobs.list(layout.BATCHES) if layout.batch_of_reviewed(info.name) and info.name not in known)
