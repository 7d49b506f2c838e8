"""An overview for a person: one screen for a healthy project, a word in front of each line that says what it is about."""

from collections.abc import Iterator
from itertools import groupby

from activelearning.overview import EventShown, JobShown, Overview, PoisonShown
from activelearning.state import FAILED

_RUNS = 6
_MOST_CLAIMS = 20
_MOST_POISONED = 3


def text(shown: Overview) -> str:
    """The overview as lines."""
    return "\n".join(f"{subject:10} {sentence}" for subject, sentence in _lines(shown))


def _lines(shown: Overview) -> Iterator[tuple[str, str]]:
    yield "store", shown.store
    yield "pool", _pool(shown)
    yield "model", f"{shown.model}, current since {shown.committed_at[:19]}Z" if shown.model else "none yet"
    if shown.ap50:
        yield "AP50", _trend(shown.ap50)
    if shown.mask_ap50:
        yield "mask AP50", _trend(shown.mask_ap50)
    if shown.outlook:
        yield "outlook", shown.outlook.headline
        yield "outlook", shown.outlook.advice
    if shown.autolabel:
        yield "accepted", str(shown.autolabel)
        if shown.autolabel.audit and shown.autolabel.audit.boxes and not shown.autolabel.audit.broken:
            yield "audit", str(shown.autolabel.audit)
    if shown.drafts and shown.drafts.next_images:
        yield "next", shown.drafts.ahead
    if shown.drafts and shown.drafts.behind:
        yield "returned", shown.drafts.behind
    yield from (("claim", str(claim)) for claim in shown.claims[:_MOST_CLAIMS])
    if len(shown.claims) > _MOST_CLAIMS:
        yield "claim", f"and {len(shown.claims) - _MOST_CLAIMS} more, see `tagger status`"
    if shown.images_waiting:
        yield "waiting", "new images are not listed yet: a running `activelearning up` lists them, or `trainer once` now"
    if shown.uploads_waiting:
        yield "waiting", f"reviewed uploads that no model was trained on yet: {shown.uploads_waiting:,}"
    yield from (("job", _job(job)) for job in shown.jobs if job.status != FAILED)
    if shown.fleet:
        yield "machines", str(shown.fleet)
    if shown.last_event:
        yield "last event", _event(shown.last_event)
    yield from (("attention", sentence) for sentence in shown.stuck)
    yield from (("attention", sentence) for sentence in _poisoned(shown))


def _pool(shown: Overview) -> str:
    listed = f"{shown.pool_images:,} images listed, {shown.labelled_images:,} labelled, {shown.test_images:,} in the test split"
    return listed + (f", {shown.unreadable_images:,} unreadable" if shown.unreadable_images else "")


def _trend(ap50: tuple[tuple[str, float], ...]) -> str:
    values = "  ".join(f"{run} {value:.3f}" for run, value in ap50[-_RUNS:])
    return values + (f"  ({ap50[-1][1] - ap50[-2][1]:+.3f})" if len(ap50) > 1 else "")


def _job(job: JobShown) -> str:
    said = f"{job.job} ({job.run}): {job.status} {job.progress}".rstrip()
    if job.silent_seconds is None:
        return said
    return f"{said}; {job.owner}, last sign of life {ago(job.silent_seconds)}"


def _event(event: EventShown) -> str:
    return f"{event.what}, {ago(event.age_seconds)}"


def ago(seconds: float) -> str:
    """`12 s ago`, `3 min ago`, `5 h ago`, `2 days ago`."""
    for size, unit, most in ((1, "s", 120), (60, "min", 120), (3600, "h", 48)):
        if seconds / size < most:
            return f"{max(seconds, 0) / size:.0f} {unit} ago"
    return f"{seconds / 86_400:.0f} days ago"


def _poisoned(shown: Overview) -> Iterator[str]:
    for queue, messages in groupby(shown.poison, key=lambda message: message.queue):
        first = list(messages)[:_MOST_POISONED]
        yield from map(_message, first)
        others = shown.poisoned[queue] - len(first)
        if others > 0:
            yield f"{others:,} more of {queue} could not be handled; --json names the first"
    # A cloud's queue shows no message that somebody is just putting back, but counts it.
    for queue, count in shown.poisoned.items():
        if not any(message.queue == queue for message in shown.poison):
            yield f"{count:,} of {queue} could not be handled; `activelearning retry` tries again"


def _message(message: PoisonShown) -> str:
    why = message.reason or "see the log of the functions"
    told = f"{message.about} of {message.queue} could not be handled: {why}"
    return f"{told} ({ago(message.age_hours * 3600)}); when that is mended, `activelearning retry` tries again"
