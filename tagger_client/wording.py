"""What the commands say when they are done: as one JSON object, and as text for a person."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from activelearning import expected_cost, journal
from activelearning.commandline import plural
from activelearning.diff import sentence
from activelearning.labels import Problem
from tagger_client import tools
from tagger_client.batch_folder import Manifest
from tagger_client.download import Downloaded
from tagger_client.label_review import SUSPICIONS
from tagger_client.review import BatchReview
from tagger_client.upload import Handed

Said = tuple[dict[str, Any], str]


def downloaded(done: Downloaded, folder: Path, asked: int) -> Said:
    """A batch that is ready to be reviewed."""
    claimed, got = len(done.manifest.images), len(done.manifest.usable)
    value = {"batch": done.manifest.batch, "folder": str(folder), "images": got, "drafts": done.drafts, "expires_at": done.expires_at}
    value |= expected_cost.as_dict(done.expected)
    until = journal.utc(done.expires_at)[:16].replace("T", " ")
    text = (
        f"{plural(got, 'image')} with {plural(done.drafts, 'draft box')} in {folder}, yours until {until} UTC (batch {done.manifest.batch})"
    )
    text += f"; {asked} were asked for, {claimed} are free" if claimed < asked else ""
    text += f"\n{done.expected}" if done.expected else ""
    text += f"\nnow {tools.TOOLS[done.manifest.tool].advice.format(folder)}; then {tools.hand_in(done.manifest.tool, folder)}"
    text += f"\nwhat the model doubts in each is in {folder / SUSPICIONS}" if done.manifest.review else ""
    return value | _problems(done.problems), text


def handed(done: Handed, folder: Path) -> Said:
    """What was handed in, and what changed against the drafts."""
    fresh, left = len(done.review.fresh), done.review.totals.unopened
    text = f"{plural(fresh, 'image')} handed in" if done.name else "nothing new since the last upload; nothing was handed in"
    text += f"\n{sentence(done.review.totals)}"
    text += f"\nabout {expected_cost.duration(done.seconds)} of work by the cost model"
    text += "" if done.expected_seconds is None else f"; {expected_cost.duration(done.expected_seconds)} were expected"
    if left:
        text += f"\nto do: open the other {plural(left, 'image')} and upload again, or give them back with `tagger release {folder}`"
    value = {"upload": done.name, "handed_in": fresh, "images": len(done.review.images)}
    value |= {"seconds": round(done.seconds, 1), "expected_seconds": expected_cost.rounded(done.expected_seconds)}
    return value | asdict(done.review.totals) | _problems(done.review.problems), text


def batch_status(manifest: Manifest, review: BatchReview, folder: Path) -> Said:
    """How far a batch is."""
    waiting, left = len(review.fresh), review.totals.unopened
    value = {"batch": manifest.batch, "ready": True, "released": manifest.released, "images": len(review.images), "not_handed_in": waiting}
    text = f"batch {manifest.batch}: {plural(len(review.images), 'image')}, {left} not opened, {waiting} reviewed and not handed in"
    text += "; it was given back" if manifest.released else ""
    text += f"\n{sentence(review.totals)}"
    text += f"\nnow run `tagger upload {folder}`" if waiting else ""
    return value | asdict(review.totals) | _problems(review.problems), text


def unfinished(manifest: Manifest, folder: Path) -> Said:
    """A download that was cut off."""
    value = {"batch": manifest.batch, "ready": False, "released": manifest.released}
    again = f"`{manifest.command} --to {folder} --tool {manifest.tool}`"
    return value, f"batch {manifest.batch}: its download was cut off; go on with {again}"


def _problems(problems: tuple[Problem, ...]) -> dict[str, list[str]]:
    return {"problems": [str(problem) for problem in problems]}
