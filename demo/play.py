"""`make demo`: the whole loop on blood-cell images, with a simulated annotator at the real commands.

It ends with a table on the screen and in `demo/summary.json`; everything it made stays in `demo/run/`. With `--detector`, two short rounds
with another family at toy size, from scratch: that shows that it runs here, not how good it is.
"""

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from activelearning.errors import UserError
from activelearning.store import open_store
from demo import outlines
from tests.bench import loop
from tests.bench.loop import Plan, Round

HERE = Path(__file__).parent
DATA = HERE / "data" / "bccd"
RUN = HERE / "run"
SUMMARY = HERE / "summary.json"
SETTINGS = (
    # Cells have no up and down.
    "training.vertical_flip = true",
    "training.iterations = 900",
    "training.warm_iterations = 500",
)


_TOY = (
    "detector.tiny = true",
    "detector.long_side = 160",
    "training.iterations = 120",
    "training.warm_iterations = 60",
    "training.batch_size = 4",
)
"""What makes a round of any family short on two CPU cores."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is played: how many batches, by whose labels, in which tools, with which further settings, and what is said first."""

    rounds: int = 4
    labels: Path = DATA / "annotations"
    form: str = "voc"
    tools: tuple[str, ...] = ("vott", "cvat")
    settings: tuple[str, ...] = SETTINGS
    intro: str = "A simulated annotator reviews 4 batches of 25, in VoTT's and in CVAT's files,"


def main(arguments: list[str]) -> int:
    """Play the demo, with `--azurite` on Azure's emulator in place of a directory; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.play", description=__doc__)
    parser.add_argument("--azurite", action="store_true", help="keep the project in Azure's storage emulator; it ends with the demo")
    parser.add_argument("--detector", metavar="FAMILY", default="", help="such as rfdetr-nano; `trainer families` lists them")
    options = parser.parse_args(arguments)
    try:
        scene = _scene(options.detector) if options.detector else Scene()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.azurite:
        from tests import azurite

        azurite.install()
        with azurite.running() as connection:
            os.environ["AZURE_STORAGE_CONNECTION_STRING"] = connection
            _play(scene, open_store(connection).url, HERE / "run-azurite", HERE / "run-azurite" / "summary.json")
    else:
        _play(scene, "", RUN, SUMMARY)
    return 0


def _scene(detector: str) -> Scene:
    """A short demo of a family. Raises `UserError` when there is none of that name, or it cannot be used here."""
    from trainer import detectors

    draws = detectors.family(detector).draws
    settings = ("training.vertical_flip = true", f'detector.family = "{detector}"', f'task = "{draws}"', *_TOY)
    intro = f"A simulated annotator reviews 2 batches of 25 with a toy-sized {detector} from scratch,"
    if draws == detectors.BOXES:
        return Scene(2, settings=settings, intro=intro)
    return Scene(2, RUN / "outlines.json", "coco", ("cvat",), settings, f"{intro} outlines being ellipses,")


def _play(scene: Scene, store: str, run: Path, table: Path) -> None:
    started = time.monotonic()
    _make_room(run)
    if scene.form == "coco":
        outlines.write(DATA / "annotations", scene.labels)
    test = tuple((DATA / "test.txt").read_text("utf-8").split())
    plan = Plan(
        DATA / "images", scene.labels, scene.form, test, scene.rounds, batch=25, settings=scene.settings, tools=scene.tools, store=store
    )
    print(f"364 blood-cell images (BCCD, MIT). {scene.intro}")
    print(f"and the loop trains after each. By hand: {_constants(plan)}.\n")
    rounds = loop.play(plan, run, lambda line: print(f"  {line}", flush=True), _show)
    summary = loop.summary(plan, rounds) | {"wall_seconds": round(time.monotonic() - started)}
    table.write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    _conclude(rounds)
    print(f"whole demo {(time.monotonic() - started) / 60:.1f} minutes; the store is {plan.store_in(run)}, the table {table}")


def _make_room(run: Path) -> None:
    """The last demo's folder is the demo's own and is made anew; a person's folder never is."""
    if run.exists():
        shutil.rmtree(run)
    run.mkdir()


def _constants(plan: Plan) -> str:
    c = plan.costs
    return f"open an image {c.open} s, keep a draft {c.keep} s, nudge {c.nudge} s, delete {c.delete} s, draw a box {c.draw} s"


def _show(one: Round) -> None:
    kept = "" if one.drafts_kept is None else f", {one.drafts_kept:.0%} of {one.drafts} drafts kept untouched"
    print(
        f"{one.run}: {one.labelled_images} images, {one.boxes} boxes labelled; AP50 {one.ap50:.3f}, AP {one.ap:.3f} on the test split; "
        f"this batch took the annotator {one.round_annotator_seconds:.0f} s, drawing it {one.round_draw_seconds:.0f} s{kept}\n",
        flush=True,
    )


def _conclude(rounds: list[Round]) -> None:
    print(f"{'round':8} {'tool':5} {'images':>6} {'boxes':>6} {'AP50':>6} {'AP':>6} {'annotator s':>12} {'drawing s':>10} {'kept':>5}")
    for one in rounds:
        kept = "-" if one.drafts_kept is None else f"{one.drafts_kept:.0%}"
        print(
            f"{one.run:8} {one.tool:5} {one.labelled_images:6} {one.boxes:6} {one.ap50:6.3f} {one.ap:6.3f} "
            f"{one.annotator_seconds:12.0f} {one.draw_seconds:10.0f} {kept:>5}"
        )
    seed, last = rounds[0], rounds[-1]
    spent = last.annotator_seconds - seed.annotator_seconds
    drawn = last.draw_seconds - seed.draw_seconds
    print(f"\nafter the seed round {spent:.0f} s of review instead of {drawn:.0f} s of drawing the same boxes: {spent / drawn:.0%}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
