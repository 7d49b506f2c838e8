"""The whole loop on a folder of labelled images, with a simulated annotator at the real commands.

    python -m tests.bench loop --images DIR --labels DIR --format voc --rounds 4 --batch 25 --json

Everything goes through the installed programs: `activelearning init, upload, import, up` and `tagger download, upload`. A round is a
batch: claimed, corrected from ground truth in VoTT's or CVAT's files, handed in; the events do the rest.
"""

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from activelearning import commits, formats, layout
from activelearning.cost import CostModel
from activelearning.importing import read_truth
from activelearning.labels import ImageLabels
from activelearning.matching import with_blob_names
from activelearning.store import Store, open_store
from tests.bench import annotator

_TOOLS = ("vott", "cvat")
_PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play: images and labels, names of the test images (empty: a fifth, by hash), settings as in project.toml."""

    images: Path
    labels: Path
    form: str | None
    test: tuple[str, ...]
    rounds: int
    batch: int
    settings: tuple[str, ...] = ()
    seed: int = 0
    costs: CostModel = field(default_factory=CostModel)
    tools: tuple[str, ...] = _TOOLS
    """In which the annotator works, turn and turn about."""
    store: str = ""
    """The address of the store, without any secret; empty: a directory in the folder that is played in."""

    def store_in(self, folder: Path) -> str:
        """Where the project of this plan is, when played in a folder."""
        return self.store or str(folder / "store")


@dataclass(frozen=True, slots=True)
class Round:
    """The loop after a batch was trained on. Boxes and seconds are cumulative; `drafts_kept` is this round's share of drafts."""

    run: str
    tool: str
    labelled_images: int
    boxes: int
    ap50: float | None
    ap: float | None
    annotator_seconds: float
    draw_seconds: float
    round_annotator_seconds: float
    round_draw_seconds: float
    drafts: int
    drafts_kept: float | None
    wall_seconds: float


def play(plan: Plan, folder: Path, tell: Callable[[str], None], done: Callable[[Round], None] = lambda one: None) -> list[Round]:
    """Play all rounds in a new folder and return them. `tell` hears what is done, `done` of each round as it ends."""
    truth = ground_truth(plan)
    test = _named(truth, plan.test) if plan.test else _fifth(truth, plan.seed)
    store = _make_project(plan, folder, truth, test, tell)
    rounds: list[Round] = []
    with _up(plan.store_in(folder), folder, tell):
        _wait_for(store, 1, folder, "the images to be listed")
        for number in range(plan.rounds):
            rounds.append(_play_round(plan, folder, store, truth, number, rounds, tell))
            done(rounds[-1])
    return rounds


def ground_truth(plan: Plan) -> dict[str, ImageLabels]:
    """The labels of every image by blob name, as the annotator knows them."""
    names = sorted(path.relative_to(plan.images).as_posix() for path in plan.images.rglob("*") if layout.is_image(path.name))
    reading = with_blob_names(read_truth(plan.labels, plan.form), names, str(plan.labels))
    for problem in reading.problems:
        print(f"warning: {problem}", file=sys.stderr)
    return {labels.image: labels for labels in reading.images}


def _named(truth: dict[str, ImageLabels], names: Sequence[str]) -> set[str]:
    """Test images by blob name, with or without suffix."""
    wanted = set(names)
    return {image for image in truth if image in wanted or image.rpartition(".")[0] in wanted}


def _fifth(truth: dict[str, ImageLabels], seed: int) -> set[str]:
    ranked = sorted(truth, key=lambda image: hashlib.sha256(f"{seed} {image}".encode()).hexdigest())
    return set(ranked[: max(len(ranked) // 5, 1)])


def _make_project(plan: Plan, folder: Path, truth: dict[str, ImageLabels], test: set[str], tell: Callable[[str], None]) -> Store:
    url = plan.store_in(folder)
    classes = sorted({box.label for labels in truth.values() for box in labels.boxes})
    assignments = [
        part for setting in (f"training.seed={plan.seed}", f"selection.seed={plan.seed}", *plan.settings) for part in ("--set", setting)
    ]
    tell(_first_line("activelearning.cli", "init", url, "--classes", ",".join(classes), *assignments))
    tell(_first_line("activelearning.cli", "upload", url, str(plan.images)))
    labels = folder / "test-labels.csv"
    formats.write([truth[image] for image in sorted(test) if image in truth], labels, "csv", classes)
    tell(_first_line("activelearning.cli", "import", url, str(labels), "--format", "csv", "--split", "test"))
    return open_store(url)


def _first_line(module: str, *arguments: str) -> str:
    # the others are advice to a person
    return _run(module, *arguments).partition("\n")[0]


def _run(module: str, *arguments: str) -> str:
    """Run one of our programs as a person would, and return what it prints."""
    ended = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{module} {' '.join(arguments[:2])}: {ended.stderr.strip()}")
    return ended.stdout.strip()


@contextmanager
def _up(url: str, folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    log = folder / "up.log"
    tell(f"activelearning up runs functions and trainer; its log is {log}")
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "activelearning.cli", "up", url], stderr=file, env=_environment())
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _environment() -> dict[str, str]:
    # Spinning threads of one process starve the others where cores are few.
    return {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}


def _wait_for(store: Store, sequence: int, folder: Path, what: str) -> commits.Commit:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        commit = commits.latest(store.labels)
        if commit and commit.sequence >= sequence:
            return commit
        time.sleep(0.5)
    raise SystemExit(f"waited an hour for {what}; see {folder / 'up.log'}")


def _play_round(
    plan: Plan, folder: Path, store: Store, truth: dict[str, ImageLabels], number: int, before: Sequence[Round], tell: Callable[[str], None]
) -> Round:
    started = time.monotonic()
    tool = plan.tools[number % len(plan.tools)]
    batch = folder / f"batch-{number + 1}-{tool}"
    sequence = _latest_sequence(store)
    asked = ("download", str(plan.batch), "--store", plan.store_in(folder), "--to", str(batch), "--tool", tool, "--as", "player", "--json")
    drafts = json.loads(_run("tagger_client.cli", *asked))["drafts"]
    work, file = annotator.review(batch, {image: labels.boxes for image, labels in truth.items()})
    tell(": ".join(_run("tagger_client.cli", "upload", str(batch), *([str(file)] if file else [])).split("\n")[:2]))
    commit = _wait_for(store, sequence + 1, folder, f"batch {number + 1} to be trained on")
    return _round(plan, store, commit, tool, work, drafts, before, time.monotonic() - started)


def _latest_sequence(store: Store) -> int:
    commit = commits.latest(store.labels)
    return commit.sequence if commit else 0


def _round(
    plan: Plan, store: Store, commit: commits.Commit, tool: str, work: annotator.Work, drafts: int, before: Sequence[Round], wall: float
) -> Round:
    figures = _figures(store, commit.run)
    seconds, draw = work.seconds(plan.costs), plan.costs.draw_seconds(work.boxes)
    last = before[-1] if before else None
    return Round(
        commit.run,
        tool,
        (last.labelled_images if last else 0) + work.images,
        (last.boxes if last else 0) + work.boxes,
        figures.get("ap50"),
        figures.get("ap"),
        round((last.annotator_seconds if last else 0) + seconds, 1),
        round((last.draw_seconds if last else 0) + draw, 1),
        round(seconds, 1),
        round(draw, 1),
        drafts,
        round(work.totals.kept / drafts, 4) if drafts else None,
        round(wall, 1),
    )


def _figures(store: Store, run: str) -> dict[str, float]:
    rows = csv.DictReader(store.labels.read(layout.PERFORMANCE).content.decode().splitlines())
    mine = (row for row in rows if layout.run_name(row["flow"], int(row["iteration"])) == run and row["class"] == "all")
    return {row["metric"]: float(row["value"]) for row in mine if row["value"]}


def summary(plan: Plan, rounds: Sequence[Round]) -> dict[str, Any]:
    """The benchmark's object, and the demo's."""
    return {"cost_model_seconds": asdict(plan.costs), "seed": plan.seed, "rounds": [asdict(one) for one in rounds]}


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """The benchmark: `rounds`, a list of what `Round` holds."""
    plan, keep = _plan(arguments)

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    with tempfile.TemporaryDirectory() as scratch:
        return summary(plan, play(plan, keep or Path(scratch), tell, lambda one: tell(json.dumps(asdict(one)))))


def _plan(arguments: Sequence[str]) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench loop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = Path(__file__).parents[2] / "demo" / "data" / "bccd"
    parser.add_argument("--images", type=Path, default=data / "images")
    parser.add_argument("--labels", type=Path, default=data / "annotations")
    parser.add_argument("--format", choices=("voc", "coco", "yolo", "vott"), help="default: by content")
    parser.add_argument(
        "--test", type=Path, metavar="FILE", help="a list of test images, a name a line; default: a fifth, by a hash of the names"
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--strategy", default="least-confidence")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting as in project.toml")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder to leave everything in")
    options = parser.parse_args(arguments)
    if options.keep:
        options.keep.mkdir(parents=True)
    test = tuple(options.test.read_text("utf-8").split("\n")) if options.test else ()
    settings = (f'selection.strategy="{options.strategy}"', *options.set)
    names = tuple(name.strip() for name in test if name.strip())
    return Plan(options.images, options.labels, options.format, names, options.rounds, options.batch, settings, options.seed), options.keep
