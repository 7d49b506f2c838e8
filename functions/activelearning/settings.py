"""`project.toml`: what to do. Where to do it comes from the environment and from flags.

Rule: read once, at the edge, into one frozen value; an unknown key, a missing key or a value of the wrong kind is an error that
names the key and the file.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Detector:
    """Which family of detectors, and how large the image it sees."""

    family: str = "compact"
    long_side: int = 320
    """Pixels of the network input's longer side; the shorter follows from the images' usual shape, both in steps of 32."""


@dataclass(frozen=True, slots=True)
class Training:
    """How one training run is done."""

    iterations: int = 1400
    """Steps of the first run from scratch."""
    warm_iterations: int = 700
    """Steps of a run that starts from the last model; 0 means: always from scratch."""
    batch_size: int = 8
    learning_rate: float = 2e-3
    warm_learning_rate: float = 1e-3
    horizontal_flip: bool = True
    vertical_flip: bool = False
    seed: int = 0
    checkpoint_every: int = 100
    threads: int = 0
    """CPU threads, 0: as many as there are cores."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The order in which people review the pool."""

    strategy: str = "least-confidence"
    aggregation: str = "min"
    class_balance: dict[str, float] = field(default_factory=dict)
    """Wanted share of images by class; the key `NULL` is the quota for images without detections. Sums to 1, or empty."""
    folder_quotas: dict[str, float] = field(default_factory=dict)
    """Wanted share of images by top folder; `{"*" = 1.0}` means: every folder alike. Sums to 1, or empty."""
    min_confidence: float = 0.0
    max_confidence: float = 1.0
    """Images whose confidence lies outside these bounds come after all others."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Drafts:
    """Which of the model's boxes a person is shown."""

    min_confidence: float = 0.4
    max_confidence: float = 1.0
    max_tags_per_pixel: int = 0
    """At most so many boxes over any pixel, most confident first; 0: no cap."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a detection must have to be written into `totag`."""

    min_confidence: float = 0.05
    max_detections: int = 100
    nms_iou: float = 0.6


@dataclass(frozen=True, slots=True)
class Policy:
    """When the loop acts by itself."""

    train_after: int = 1
    """Reviewed images not yet trained on that wake a training job."""
    quiet_seconds: float = 10.0
    """New images must have stopped arriving for so long before they are predicted."""
    claim_days: float = 3.0
    """A claim that nobody renewed for so long goes back to the pool."""


@dataclass(frozen=True, slots=True)
class TestSplit:
    """The sticky test split."""

    percentage: float = 0.2
    """Share of all labelled images; new labels join until it is reached, none ever leaves."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """One project."""

    classes: tuple[str, ...]
    task: str = "boxes"
    detector: Detector = Detector()
    training: Training = Training()
    selection: Selection = Selection()
    drafts: Drafts = Drafts()
    prediction: Prediction = Prediction()
    policy: Policy = Policy()
    test: TestSplit = TestSplit()
