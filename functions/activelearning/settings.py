"""What to do, as one frozen value. Where to do it comes from the environment and from flags.

Rule: a `Settings` that exists is valid; the first fault raises `SettingsError` with the dotted key. Each field carries its own
explanation and rule, which `project_file` reads too, so a new setting is one line here and nothing elsewhere.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from activelearning.errors import SettingsError
from activelearning.labels import BACKGROUND

STRATEGIES = ("least-confidence", "most-confidence", "random", "entropy", "margin")
AGGREGATIONS = ("min", "mean", "max", "sum")
LIKELIHOODS = ("laplace", "gaussian")
TASKS = ("boxes",)
OTHER_FOLDERS = "*"
"""The key of `folder_quotas` that stands for every folder not named there."""

Rule = Callable[[Any], str]
"""What is wrong with a value, as the end of a sentence that starts with its key; empty where nothing is."""


def between(low: float, high: float) -> Rule:
    """A number within bounds, both included; not-a-number lies outside."""
    return lambda value: "" if low <= value <= high else f"is {value!r}, but must lie between {low:,} and {high:,}"


def one_of(choices: Sequence[str]) -> Rule:
    """One of a few words."""
    return lambda value: "" if value in choices else f"is {value!r}, but must be one of: {', '.join(choices)}"


def shares(value: dict[str, float]) -> str:
    """Shares of a whole: each 0..1, together 1 within 0.01; none at all is fine too."""
    outside = [name for name, share in value.items() if not 0 <= share <= 1]
    if outside:
        return f"gives '{outside[0]}' {value[outside[0]]!r}, but a share must lie between 0 and 1"
    total = math.fsum(value.values())
    return f"sums to {total:.4g}, but must sum to 1" if value and abs(total - 1) > 0.01 + 1e-9 else ""


def steps_of_32(value: int) -> str:
    """A multiple of 32."""
    return f"is {value}, but must be a multiple of 32, such as {max(32, round(value / 32) * 32)}" if value % 32 else ""


def not_empty(value: str) -> str:
    """A word, whichever."""
    return "" if value.strip() else "is empty; name one"


def class_names(value: Sequence[str]) -> str:
    """At least one class, each printable, none twice, none the literal of the background."""
    if not value:
        return 'is empty; name at least one class, such as classes = ["knot", "defect"]'
    return next(filter(None, map(_class_name, value)), "") or _twice(value)


def _class_name(name: str) -> str:
    if name == BACKGROUND:
        return f"holds '{BACKGROUND}', which stands for images without boxes; choose another name"
    if not name or name != name.strip() or not name.isprintable():
        return f"holds {name!r}; a class name must not be empty, nor hold line breaks or spaces at its ends"
    return ""


def _twice(names: Sequence[str]) -> str:
    name, count = Counter(names).most_common(1)[0]
    return f"names '{name}' twice; leave one out" if count > 1 else ""


@dataclass(frozen=True, slots=True)
class Detector:
    """Which family of detectors, and how large the image it sees."""

    family: Annotated[str, "The detector's family.", not_empty] = "compact"
    long_side: Annotated[
        int,
        "Pixels of the network input's longer side; the shorter follows from the images' usual shape, both in steps of 32.",
        between(32, 8192),
        steps_of_32,
    ] = 320
    box_likelihood: Annotated[
        str, f"How far off a box's sides are, as the detector learns it: {' or '.join(LIKELIHOODS)}.", one_of(LIKELIHOODS)
    ] = "laplace"


@dataclass(frozen=True, slots=True)
class Training:
    """How one training run is done."""

    iterations: Annotated[int, "Steps of the first run from scratch.", between(1, 10_000_000)] = 1500
    warm_iterations: Annotated[int, "Steps of a run that starts from the last model; 0: always from scratch.", between(0, 10_000_000)] = 700
    batch_size: Annotated[int, "Images in one step.", between(1, 4096)] = 8
    learning_rate: Annotated[float, "Highest learning rate of a run from scratch.", between(1e-9, 10)] = 3e-3
    warm_learning_rate: Annotated[float, "Highest learning rate of a run from the last model.", between(1e-9, 10)] = 1e-3
    horizontal_flip: Annotated[bool, "Also train on images mirrored left to right."] = True
    vertical_flip: Annotated[bool, "Also train on images mirrored top to bottom."] = False
    seed: Annotated[int, "Of everything random in training.", between(0, 2**32 - 1)] = 0
    checkpoint_every: Annotated[int, "Steps between checkpoints: how much work a killed run loses at most.", between(1, 10_000_000)] = 100
    threads: Annotated[int, "CPU threads; 0: as many as there are cores.", between(0, 4096)] = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The order in which people review the pool."""

    strategy: Annotated[str, f"Which images come first: {', '.join(STRATEGIES)}.", one_of(STRATEGIES)] = "least-confidence"
    aggregation: Annotated[
        str,
        f"How an image's boxes speak for it: {', '.join(AGGREGATIONS)}; min: by the box the model is least sure of.",
        one_of(AGGREGATIONS),
    ] = "mean"
    class_balance: Annotated[
        dict[str, float],
        f"Wanted share of images by class; {BACKGROUND} is the share of images without detections. Sums to 1, or empty: no balance.",
        shares,
    ] = field(default_factory=dict)
    folder_quotas: Annotated[
        dict[str, float],
        'Wanted share of images by top folder; "*" is shared alike by all folders not named. Sums to 1, or empty: no quotas.',
        shares,
    ] = field(default_factory=dict)
    min_confidence: Annotated[float, "Images less confident than this come after all others.", between(0, 1)] = 0.0
    max_confidence: Annotated[float, "Images more confident than this come after all others.", between(0, 1)] = 1.0
    seed: Annotated[int, "Of the strategy random.", between(0, 2**32 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Drafts:
    """Which of the model's boxes a person is shown."""

    min_confidence: Annotated[float, "Boxes less confident than this are not shown.", between(0, 1)] = 0.4
    max_confidence: Annotated[float, "Boxes more confident than this are not shown.", between(0, 1)] = 1.0
    max_tags_per_pixel: Annotated[int, "At most so many boxes over any pixel, most confident first; 0: no cap.", between(0, 100_000)] = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a detection must have to be written into `totag`."""

    min_confidence: Annotated[float, "Detections less confident than this are forgotten.", between(0, 1)] = 0.05
    max_detections: Annotated[int, "At most so many boxes an image, most confident first.", between(1, 100_000)] = 100
    nms_iou: Annotated[float, "Of two boxes of one class that overlap more than this, the less confident goes.", between(0, 1)] = 0.6
    mc_samples: Annotated[
        int, "Samples of Monte-Carlo dropout, which tell how sure the model is of what it learned; 1: none.", between(1, 1000)
    ] = 10


@dataclass(frozen=True, slots=True)
class Policy:
    """When the loop acts by itself."""

    train_after: Annotated[int, "Reviewed images not yet trained on that wake a training job.", between(1, 1_000_000_000)] = 1
    quiet_seconds: Annotated[
        float, "New images must have stopped arriving for so long before they are predicted.", between(0, 10_000_000)
    ] = 10.0
    report: Annotated[bool, "Write a page about each trained model, report.html beside it."] = True
    claim_days: Annotated[float, "A claim that nobody renewed for so long goes back to the pool.", between(0, 100_000)] = 3.0


@dataclass(frozen=True, slots=True)
class TestSplit:
    """The sticky test split."""

    percentage: Annotated[
        float, "Share of all labelled images; new labels join until it is reached, none ever leaves.", between(0, 0.9)
    ] = 0.2
    seed: Annotated[int, "Of the draw.", between(0, 2**32 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Autolabel:
    """What the machine may accept without a look."""

    precision: Annotated[
        float,
        "Accept boxes of which at least this share is right, as reviewed images prove it, such as 0.99; 0: accept none.",
        between(0, 0.9999),
    ] = 0.0
    confidence: Annotated[float, "How sure the proof must be.", between(0.5, 0.9999)] = 0.95
    max_missed: Annotated[float, "At most this share of the objects in accepted images may be missed.", between(0, 1)] = 0.05
    audit_share: Annotated[float, "Share of the accepted images that people review all the same.", between(0.001, 1)] = 0.05
    train_share: Annotated[
        float, "Train on at most so many accepted images for each that people reviewed; 0: on none.", between(0, 1000)
    ] = 1.0
    seed: Annotated[int, "Of the draw of these images.", between(0, 2**32 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Trainers:
    """The machines in the cloud that train, and are off when there is nothing to do."""

    most: Annotated[int, "Never more of them than this at a time; 0: none is started.", between(0, 1000)] = 1
    idle_minutes: Annotated[
        float, "One that did nothing for so long should have removed itself; twenty minutes later it is removed.", between(1, 10_000)
    ] = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """One project."""

    classes: Annotated[tuple[str, ...], "The classes, in the order of their ids.", class_names]
    task: Annotated[str, f"What people draw: {' or '.join(TASKS)}; masks are kept in the tables, not trained on yet.", one_of(TASKS)] = (
        "boxes"
    )
    detector: Detector = Detector()
    training: Training = Training()
    selection: Selection = Selection()
    drafts: Drafts = Drafts()
    prediction: Prediction = Prediction()
    policy: Policy = Policy()
    test: TestSplit = TestSplit()
    autolabel: Autolabel = Autolabel()
    trainers: Trainers = Trainers()

    def __post_init__(self) -> None:
        fault = next(_faults(self), "") or next(_contradictions(self), "")
        if fault:
            raise SettingsError(fault)


def _faults(table: Any, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(type(table), include_extras=True)
    for key in (entry.name for entry in fields(table)):
        value = getattr(table, key)
        if is_dataclass(value):
            yield from _faults(value, f"{key}.")
        rules = (rule for rule in get_args(hints[key])[1:] if callable(rule))
        yield from (f"{prefix}{key} {fault}" for fault in (rule(value) for rule in rules) if fault)


def _contradictions(settings: Settings) -> Iterator[str]:
    for name, bounds in (("selection", settings.selection), ("drafts", settings.drafts)):
        if bounds.min_confidence > bounds.max_confidence:
            yield f"{name}.min_confidence is above {name}.max_confidence; swap them"
    known = (*settings.classes, BACKGROUND)
    for name in settings.selection.class_balance:
        if name not in known:
            yield f"selection.class_balance names '{name}', which is not among the classes: use {', '.join(known)}"
