"""`make demo`: the whole loop on blood-cell images, with a simulated annotator at the real commands.

It ends with a table on the screen and in `demo/summary.json`; everything it made stays in `demo/run/`.
"""

import json
import shutil
import sys
import time
from pathlib import Path

from tests.bench import loop
from tests.bench.loop import Plan, Round

HERE = Path(__file__).parent
DATA = HERE / "data" / "bccd"
RUN = HERE / "run"
SETTINGS = (
    # Cells have no up and down.
    "training.vertical_flip = true",
    "training.iterations = 900",
    "training.warm_iterations = 500",
    # Red cells are everywhere; the rare classes teach more.
    "selection.class_balance = { Platelets = 0.5, WBC = 0.3, RBC = 0.2 }",
)


def main() -> None:
    """Play the demo."""
    started = time.monotonic()
    test = tuple((DATA / "test.txt").read_text("utf-8").split())
    plan = Plan(DATA / "images", DATA / "annotations", "voc", test, rounds=4, batch=25, settings=SETTINGS)
    _make_room()
    print("364 blood-cell images (BCCD, MIT). A simulated annotator reviews 4 batches of 25, in VoTT's and in CVAT's files,")
    print(f"and the loop trains after each. By hand: {_constants(plan)}.\n")
    rounds = loop.play(plan, RUN, lambda line: print(f"  {line}", flush=True), _show)
    summary = loop.summary(plan, rounds) | {"wall_seconds": round(time.monotonic() - started)}
    (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    _conclude(rounds, time.monotonic() - started)


def _make_room() -> None:
    """The last demo's folder is the demo's own and is made anew; a person's folder never is."""
    if RUN.exists():
        shutil.rmtree(RUN)
    RUN.mkdir()


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


def _conclude(rounds: list[Round], seconds: float) -> None:
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
    print(f"whole demo {seconds / 60:.1f} minutes; the store is {RUN / 'store'}, the table {HERE / 'summary.json'}")


if __name__ == "__main__":
    sys.exit(main())
