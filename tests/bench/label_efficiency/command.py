"""How many annotator-seconds each query strategy needs to a given AP, over seeds, on any labelled dataset.

    python -m tests.bench label_efficiency --strategies default,random,class-stratified-random --seeds 5 --json
    python -m tests.bench label_efficiency --images DIR --labels DIR --format coco --test FILE --strategies random,entropy+per_second

A strategy is `default` (the project's defaults), a name of `selection.strategy`, or a name with further settings of `[selection]`:
`entropy+box_aggregation=sum+per_second`. Everything that was trained is kept in --cache, so a run that was stopped goes on where it was.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from activelearning import project_file
from activelearning.settings import Costs, Settings
from tests.bench.label_efficiency import analysis, learner, page, play
from tests.bench.label_efficiency.analysis import Round
from tests.bench.label_efficiency.data import Dataset, Source, load
from tests.bench.label_efficiency.learner import Learner
from trainer.query import ranking

_ROOT = Path(__file__).parents[3]
_BCCD = _ROOT / "demo" / "data" / "bccd"
_UNLIKE = (
    "no reviewed image joins the test split, whose labels are given and cost nothing",
    "draft thresholds are learned from the last returned batch, not from the test split, and no probability is calibrated",
    "so the seconds that a score is divided by follow from confidences",
    "the constants of cleaning drafts were chosen on 164 images of BCCD, of which the test split holds some",
    "batches have the same sizes for every strategy, and every round starts from the last model",
)
RIVALS = ("random", "class-stratified-random")
_QUICK = ("--seeds", "2", "--batches", "10,15,25", "--set", "training.iterations=400", "--set", "training.warm_iterations=250")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared, on what, how: one frozen value, which every process gets."""

    source: Source
    strategies: tuple[str, ...]
    seeds: int
    batches: tuple[int, ...]
    full_seeds: int
    full_iterations: int
    settings: tuple[str, ...]
    kept_in: Path


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """Keys: `strategies`, per strategy `seconds_to_90`, `seconds_to_95`, `seconds_to_99`, `boxes_to_95`, `area`, and what it saves against
    random; `full_ap`; the cost model and everything else that the figures depend on."""
    first = _parser().parse_args(arguments)
    options = _parser().parse_args([*_QUICK, *arguments]) if first.quick else first
    plan = _plan(options)
    rounds, full = _play_all(plan, options.processes)
    outcomes = analysis.outcomes(analysis.by_strategy(rounds), float(np.mean(full)), RIVALS)
    return page.write(options.out, page.Setting(_facts(plan), tuple(full)), rounds, outcomes)


def _play_all(plan: Plan, processes: int) -> tuple[list[Round], list[float]]:
    """Every game of every strategy, and the AP of models trained on the whole pool."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with _workers(processes) as pool:
        # First what several games share, so that no two processes train the same.
        for future in [pool.submit(_first, plan, seed) for seed in range(plan.seeds)]:
            future.result()
        games = [pool.submit(_game, plan, name, seed) for seed in range(plan.seeds) for name in plan.strategies]
        full = [pool.submit(_full_ap, plan, seed) for seed in range(plan.full_seeds)]
        rounds = [one for future in games for one in future.result()]
        return rounds, [future.result() for future in full]


def _workers(processes: int) -> Executor:
    """So many processes; a single one's work is done in a thread of this one."""
    if processes == 1:
        return ThreadPoolExecutor(1, initializer=learner.one_thread)
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=learner.one_thread)


def _full_ap(plan: Plan, seed: int) -> float:
    """The AP of a model that has all labels of the pool, after as many steps as it takes."""
    dataset = _dataset(plan.source)
    settings = project_file.override(Settings(dataset.classes), plan.settings, "--set")
    settings = project_file.override(settings, [f"training.iterations = {plan.full_iterations}"], "--full-iterations")
    learnt = Learner(dataset, settings, plan.kept_in).learn(dataset.pool, seed)
    _tell(f"all {len(dataset.pool)} images, seed {seed}: AP {learnt.ap:.4f} after {learnt.iterations} iterations")
    return learnt.ap


def _first(plan: Plan, seed: int) -> None:
    dataset = _dataset(plan.source)
    _learner(plan, dataset, Settings(dataset.classes)).learn(play.first_batch(dataset, plan.batches[0], seed), seed)


def _game(plan: Plan, strategy: str, seed: int) -> list[Round]:
    dataset = _dataset(plan.source)
    # what is drawn by lot is drawn anew for each seed
    lines = [*assignments(strategy), f"selection.seed = {seed}"]
    settings = project_file.override(Settings(dataset.classes), lines, f"strategy {strategy}")
    settings = project_file.override(settings, plan.settings, "--set")
    game = play.Game(strategy, settings, dataset, _learner(plan, dataset, settings), plan.batches)
    return play.play(game, seed, _tell_round)


def _learner(plan: Plan, dataset: Dataset, settings: Settings) -> Learner:
    mirror = any("consistency" in ranking.needs(_selection(name)) for name in plan.strategies)
    return Learner(dataset, project_file.override(settings, plan.settings, "--set"), plan.kept_in, mirror)


def _selection(strategy: str) -> Any:
    return project_file.override(Settings(("class",)), assignments(strategy), f"strategy {strategy}").selection


@cache
def _dataset(source: Source) -> Dataset:
    return load(source)


def assignments(strategy: str) -> list[str]:
    """`entropy+per_second+top_k=3` as lines of project.toml; a word without a value is switched on."""
    name, *further = strategy.split("+")
    words = [] if name == "default" else [f'selection.strategy = "{name}"']
    return words + [f"selection.{key} = {_literal(value)}" for key, _, value in (word.partition("=") for word in further)]


def _literal(value: str) -> str:
    if value in ("", "true", "false"):
        return value or "true"
    try:
        float(value)
    except ValueError:
        return json.dumps(value)
    return value


def _facts(plan: Plan) -> dict[str, Any]:
    """Everything else that the figures depend on."""
    dataset = _dataset(plan.source)
    settings = project_file.override(Settings(dataset.classes), plan.settings, "--set")
    return {
        "images": {"pool": len(dataset.pool), "test": len(dataset.test)},
        "boxes": sum(len(dataset.labels[place].boxes) for place in dataset.pool),
        "classes": list(dataset.classes),
        "seeds": plan.seeds,
        "batches": list(plan.batches),
        "cost_model_seconds": asdict(settings.costs),
        "full_iterations": plan.full_iterations,
        "unlike_the_loop": list(_UNLIKE),
        "default_strategy": asdict(Settings(dataset.classes).selection),
        "training": asdict(settings.training),
    }


def _tell_round(one: Round) -> None:
    _tell(f"{one.strategy}, seed {one.seed}: {one.images} images, {one.boxes} boxes, {one.annotator_seconds:,.0f} s, AP {one.ap:.4f}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _plan(options: argparse.Namespace) -> Plan:
    names = tuple(line.strip() for line in options.test.read_text("utf-8").splitlines()) if options.test else ()
    source = Source(options.images, options.labels, options.format, tuple(name for name in names if name), options.long_side)
    strategies = tuple(dict.fromkeys(word for word in options.strategies.split(",") if word))
    for name in strategies:
        _selection(name)
    costs = tuple(f"costs.{field.name} = {getattr(options, field.name)}" for field in fields(Costs))
    batches = tuple(int(word) for word in options.batches.split(","))
    settings = (*costs, *options.set)
    return Plan(source, strategies, options.seeds, batches, options.full_seeds, options.full_iterations, settings, options.cache)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench label_efficiency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=_BCCD / "images")
    parser.add_argument("--labels", type=Path, default=_BCCD / "annotations")
    parser.add_argument("--format", choices=("voc", "coco", "yolo", "vott"), help="default: by content")
    parser.add_argument("--test", type=Path, metavar="FILE", help="a list of test images, a name a line; default: a fifth, by a hash")
    parser.add_argument("--long-side", type=int, default=320, help="pixels of the detector's input")
    parser.add_argument("--strategies", default="default,random,class-stratified-random", help="comma-separated, see above")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", default="10,15,25,40", help="images of the first batch, of the second, and so on")
    parser.add_argument("--full-seeds", type=int, default=1, help="models of all labels, whose mean AP is the full-label AP")
    parser.add_argument("--full-iterations", type=int, default=3000, help="at most so many steps for them")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting as in project.toml, for all strategies")
    for field in fields(Costs):
        parser.add_argument(f"--{field.name}", type=float, default=field.default, metavar="SECONDS", help="of the cost model")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help=f"within half an hour on two cores: {' '.join(_QUICK)}")
    parser.add_argument("--cache", type=Path, default=_ROOT / ".cache" / "label_efficiency", metavar="DIR", help="what was trained")
    parser.add_argument("--out", type=Path, default=_ROOT / "tests" / "bench" / "results" / "label_efficiency", metavar="DIR")
    return parser
