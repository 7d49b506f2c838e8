"""What to do, as one frozen value. Where to do it comes from the environment and from flags.

Rule: a `Settings` that exists is valid; the first fault raises `SettingsError` with the dotted key. Each field carries its own
explanation and rule, which `project_file` reads too, so a new setting is one line here and nothing elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from activelearning.errors import SettingsError
from activelearning.labels import BACKGROUND
from activelearning.setting_rules import (
    between,
    class_names,
    not_empty,
    one_of,
    own_or_between,
    seconds,
    shares,
    steps_of_32,
    weights_of,
    zero_or_between,
)

STRATEGIES = (
    *("random", "class-stratified-random", "least-confidence", "most-confidence", "margin", "entropy"),
    *("mcbox", "albox", "mcclass", "combo", "ental", "alluncert", "highep_lowal", "epuncert", "sota"),
    *("class-balanced-gain", "gain-per-second"),
    *("core-set", "max-herding", "ppal", "entropy-nms-diverse", "consistency"),
)
BY_PLACE = ("random", "class-stratified-random", "core-set", "max-herding", "ppal", "entropy-nms-diverse")
"""The strategies whose order is all they tell, so that their scores are not weighed."""
UNCERTAINTIES = (
    *("unconfidence", "margin", "entropy", "aleatoric", "epistemic", "total", "class_epistemic", "mutual_information"),
    *("improbability", "aleatoric_px", "epistemic_px", "total_px", "calibrated_px"),
)
BOX_AGGREGATIONS = ("min", "mean", "max", "sum", "top-k")
ORDERS = ("highest", "lowest", "spread")
CLASS_WEIGHTS = ("none", "inverse-frequency")
LIKELIHOODS = ("laplace", "gaussian")
NUMBERS = ("auto", "float32", "float16", "int8")
"""What a network may compute with."""
FLIPS = ("none", "horizontal", "vertical", "both")
"""Which mirror images are looked at beside an image itself."""
TASKS = ("boxes", "masks")
OTHER_FOLDERS = "*"
"""The key of `folder_quotas` that stands for every folder not named there."""


@dataclass(frozen=True, slots=True)
class Detector:
    """Which family of detectors, and how large the image it sees."""

    family: Annotated[str, "The detector's family.", not_empty] = "compact"
    weights: Annotated[
        str,
        "What the first model starts from: a repository of the Hugging Face hub (owner/name or owner/name@revision), a folder of the "
        "trainer's machine, blob:PREFIX in the labels container, or scratch; empty: what the family's makers publish, if anything.",
    ] = ""
    licences: Annotated[
        tuple[str, ...], "Start only from weights of these licences (SPDX ids, such as Apache-2.0); empty: of any, and it is told which."
    ] = ()
    tiny: Annotated[bool, "The family's network at toy size and from scratch, to try a project out without a GPU."] = False
    long_side: Annotated[
        int,
        "Pixels of the network input's longer side; the shorter follows from the images' usual shape, both in steps of 32.",
        between(32, 8192),
        steps_of_32,
    ] = 320
    tile: Annotated[
        int,
        "Look at images in tiles of so many of their pixels, along the longer side, each as large as the network's input, in training "
        "and in prediction alike: for small objects in large images. 0: the whole image at once. From the next training on.",
        zero_or_between(32, 100_000),
    ] = 0
    tile_overlap: Annotated[float, "The least share of a tile's side that the next tile shows too.", between(0, 0.9)] = 0.2
    box_likelihood: Annotated[
        str, f"How far off a box's sides are, as the detector learns it: {' or '.join(LIKELIHOODS)}.", one_of(LIKELIHOODS)
    ] = "laplace"


@dataclass(frozen=True, slots=True)
class Training:
    """How one training run is done."""

    iterations: Annotated[int, "At most so many steps of a run from scratch.", between(1, 10_000_000)] = 1500
    warm_iterations: Annotated[
        int, "At most so many steps of a run that starts from the last model; 0: always from scratch.", between(0, 10_000_000)
    ] = 700
    validation_share: Annotated[
        float,
        "From scratch: stop early when the loss on this share of the images falls no more; they join at the end. 0: do all steps.",
        between(0, 0.5),
    ] = 0.0
    rare_class_share: Annotated[
        float, "Show images of a class that fewer than this share of the images hold more often; 0: show all alike.", between(0, 1)
    ] = 0.1
    most_empty: Annotated[float, "At most this share of the images shown are without objects.", between(0, 1)] = 0.5
    batch_size: Annotated[int, "Images in one step.", between(1, 4096)] = 8
    micro_batch: Annotated[
        int, "Images that go through the network at once, of which a step takes several; 0: as many as memory holds.", between(0, 4096)
    ] = 0
    learning_rate: Annotated[
        float, "Highest learning rate of a run from scratch or from published weights; 0: the family's own.", zero_or_between(1e-9, 10)
    ] = 0.0
    warm_learning_rate: Annotated[
        float, "Highest learning rate of a run from the last model; 0: the family's own.", zero_or_between(1e-9, 10)
    ] = 0.0
    multi_scale: Annotated[
        float, "Train on images up to this share smaller or larger, drawn for each step; -1: the family's own.", own_or_between(0, 0.5)
    ] = -1.0
    mosaic: Annotated[
        float, "This share of the images trained on is made of four of them; -1: the family's own.", own_or_between(0, 1)
    ] = -1.0
    copy_paste: Annotated[
        float, "This share of the images trained on gets objects of another; -1: the family's own.", own_or_between(0, 1)
    ] = -1.0
    horizontal_flip: Annotated[bool, "Also train on images mirrored left to right."] = True
    vertical_flip: Annotated[bool, "Also train on images mirrored top to bottom."] = False
    seed: Annotated[int, "Of everything random in training.", between(0, 2**32 - 1)] = 0
    checkpoint_every: Annotated[int, "Steps between checkpoints: how much work a killed run loses at most.", between(1, 10_000_000)] = 100
    threads: Annotated[int, "CPU threads; 0: as many as there are cores.", between(0, 4096)] = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """The order in which people review the pool."""

    strategy: Annotated[str, f"Which images come first: {', '.join(STRATEGIES)}.", one_of(STRATEGIES)] = "gain-per-second"
    box_aggregation: Annotated[
        str,
        f"How an image's boxes speak for it: {', '.join(BOX_AGGREGATIONS)}; max: by the box the model is least sure of.",
        one_of(BOX_AGGREGATIONS),
    ] = "mean"
    top_k: Annotated[int, "With top-k, the mean of so many boxes that the model is least sure of.", between(1, 100_000)] = 3
    weights: Annotated[
        dict[str, float], f"What the strategy combo adds up, of each box: {', '.join(UNCERTAINTIES)}.", weights_of(UNCERTAINTIES)
    ] = field(default_factory=lambda: {"entropy": 1.0, "aleatoric": 1.0})
    hybrid: Annotated[
        float,
        "The strategies core-set and max-herding choose among so many times more images, those of the highest combo; 0: among all.",
        zero_or_between(1, 1000),
    ] = 0.0
    calibrated: Annotated[bool, "Where the model is calibrated, go by its calibrated probabilities and deviations."] = False
    relative: Annotated[bool, "The strategies mcbox and albox measure deviations by the box's sides, else in pixels."] = True
    order: Annotated[
        str, f"Which scores come first: {', '.join(ORDERS)}; spread: some of every fifth of the pool in turn.", one_of(ORDERS)
    ] = "highest"
    class_weights: Annotated[
        str,
        f"Prefer images of classes that are predicted rarely: {', '.join(CLASS_WEIGHTS)}; ignored where per_second is.",
        one_of(CLASS_WEIGHTS),
    ] = "none"
    per_second: Annotated[
        bool,
        "Divide the score by the seconds that a person is expected to need for the image; ignored where the strategy draws by lot or picks "
        f"one image after the other: {', '.join(BY_PLACE)}.",
    ] = False
    random_share: Annotated[
        float, "This share of the images is drawn by lot, so that people see some of what the model is sure of too.", between(0, 1)
    ] = 0.1
    near_duplicates: Annotated[
        int, "Of images whose 64-bit hashes differ in at most so many bits, all but one come last; 0: do not look.", between(0, 12)
    ] = 0
    sequence_seconds: Annotated[
        float, "Of images of one folder taken within so many seconds, all but one come last; 0: do not look.", between(0, 1_000_000)
    ] = 0.0
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
    seed: Annotated[int, "Of the strategies that draw by lot.", between(0, 2**32 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Drafts:
    """Which of the model's boxes a person is shown."""

    learned: Annotated[
        bool, "Show boxes from the threshold on that costs people the fewest seconds, per class, learned with each model."
    ] = True
    min_confidence: Annotated[float, "Boxes less confident than this are not shown, where no threshold is learned.", between(0, 1)] = 0.4
    max_confidence: Annotated[float, "Boxes more confident than this are not shown.", between(0, 1)] = 1.0
    max_tags_per_pixel: Annotated[int, "At most so many boxes over any pixel, most confident first; 0: no cap.", between(0, 100_000)] = 0


@dataclass(frozen=True, slots=True)
class Costs:
    """The seconds a person needs, by which drafts are chosen and work is told."""

    open: Annotated[float, "To look at an image, whether or not it holds anything.", seconds] = 1.5
    keep: Annotated[float, "To check a draft and leave it as it is.", seconds] = 1.6
    nudge: Annotated[float, "To move a draft's edges or change its class.", seconds] = 4.0
    delete: Annotated[float, "To delete a draft.", seconds] = 1.0
    draw: Annotated[float, "To draw a box and name its class.", seconds] = 7.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a detection must have to be written into `totag`."""

    min_confidence: Annotated[float, "Detections less confident than this are forgotten.", between(0, 1)] = 0.05
    max_detections: Annotated[int, "At most so many boxes an image, most confident first.", between(1, 100_000)] = 100
    nms_iou: Annotated[float, "Of two boxes of one class that overlap more than this, the less confident goes.", between(0, 1)] = 0.6
    mc_samples: Annotated[
        int, "Samples of Monte-Carlo dropout, which tell how sure the model is of what it learned; 1: none.", between(1, 1000)
    ] = 10
    numbers: Annotated[
        str,
        f"What the network computes with: {', '.join(NUMBERS)}; smaller numbers only where they cost at most half a point of AP. auto: "
        "float16 on a GPU, int8 on a CPU if the pool is large. From the next training on.",
        one_of(NUMBERS),
    ] = "auto"
    augmented: Annotated[
        str,
        f"Also predict mirror images, and merge what is found: {', '.join(FLIPS)}; two or three times the work. From the next training on.",
        one_of(FLIPS),
    ] = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """When the loop acts by itself."""

    train_after: Annotated[int, "Reviewed images not yet trained on that wake a training job.", between(1, 1_000_000_000)] = 1
    quiet_seconds: Annotated[
        float, "New images must have stopped arriving for so long before they are predicted.", between(0, 10_000_000)
    ] = 10.0
    report: Annotated[bool, "Write a page about each trained model, report.html beside it."] = True
    review: Annotated[bool, "After each training, list the labelled images by how much the model doubts their labels."] = True
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
    task: Annotated[
        str, f"What people draw: {' or '.join(TASKS)}; detector.family must be one that draws the same (trainer families).", one_of(TASKS)
    ] = "boxes"
    detector: Detector = Detector()
    training: Training = Training()
    selection: Selection = Selection()
    drafts: Drafts = Drafts()
    costs: Costs = Costs()
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
    if settings.detector.tile and settings.task != "boxes":
        yield f"detector.tile is {settings.detector.tile}, but tiles are for boxes only: set it to 0, or task to boxes"
    known = (*settings.classes, BACKGROUND)
    for name in settings.selection.class_balance:
        if name not in known:
            yield f"selection.class_balance names '{name}', which is not among the classes: use {', '.join(known)}"
