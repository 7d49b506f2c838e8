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


def take_in(blobs: Blobs, batch: str) -> None:
    """Note every review of a batch that waits for training; an upload arrived when its blob was made."""
    before = state.load(blobs)
    known = commits.consumed(blobs, before.run) | before.uploads.keys()
    reviews = (info for info in blobs.list(layout.batch_folder(batch)) if layout.batch_of_reviewed(info.name))
    new = [_upload(blobs, info, batch) for info in reviews if info.name not in known]

    def note(current: State) -> State:
        # A commit in between may have trained on them; its sequence tells, and the next look reads its list of uploads.
        if current.sequence != before.sequence:
            return current
        return reduce(State.with_upload, (upload for upload in new if upload.name not in current.uploads), current)

    if new and state.update(blobs, note).sequence != before.sequence:
        take_in(blobs, batch)


def _upload(blobs: Blobs, info: BlobInfo, batch: str) -> Upload:
    reading = labelled.read_upload(blobs, info.name)
    if not reading.images and reading.problems:
        # It is noted all the same: it would come up at every sweep, and the training job says it once more.
        journal.write(blobs, "loop", "upload unreadable", info.modified, batch=batch, problem=str(reading.problems[0]))
    images = tuple(labels.image for labels in reading.images if labels.review is Review.REVIEWED)
    return Upload(info.name, batch, images, info.modified)


def lost(blobs: Blobs) -> Iterator[str]:
    """Names of the reviewed uploads that neither the state nor the labelled set knows."""
    current = state.load(blobs)
    known = commits.consumed(blobs, current.run) | current.uploads.keys()
    return (info.name for info in blobs.list(layout.BATCHES) if layout.batch_of_reviewed(info.name) and info.name not in known)
