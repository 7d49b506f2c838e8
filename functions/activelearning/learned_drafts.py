"""`models/<run>/drafts.json`: from which score on a model's drafts pay, what becomes of them, and how sure that is.

Rule: written once, after training, by whoever trained; read by whoever hands out drafts or tells how long they take (`drafts_record`).
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from activelearning.claims import Wanted
from activelearning.draft_rules import NEVER, SCORES, DraftRules, fixed
from activelearning.settings import Drafts

KEEP, NUDGE, DELETE = range(3)
Shares = tuple[float, float, float]
"""Of drafts: the shares that are kept, nudged and deleted; together 1."""


@dataclass(frozen=True, slots=True)
class Experience:
    """What people did with drafts, beside what was expected of those very drafts: counts of kept, nudged (or given another class) and
    deleted ones, the newest in full, those of each training before with half the weight."""

    seen: Shares = (0.0, 0.0, 0.0)
    expected: Shares = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Returned:
    """The reviewed batches that the model learned from: what became of their drafts, and the seconds that took and was expected to take."""

    batches: int = 0
    images: int = 0
    kept: int = 0
    nudged: int = 0
    relabelled: int = 0
    deleted: int = 0
    added: int = 0
    seconds: float = 0.0
    expected_seconds: float = 0.0
    """Of those batches of which something was expected."""
    expected_images: int = 0


@dataclass(frozen=True, slots=True)
class LearnedDrafts:
    """What one model's drafts are worth, learned from `images` held-out ones.

    `thresholds` by class and `other` for classes that were not there are least scores, `NEVER` where no draft pays; `score` says of what.
    `rates` by class, and `other_rates`, are the shares kept, nudged and deleted of boxes between one of `edges` and the next, as held out;
    `factors` by class and `other_factors` say how many times as often that happens at people's hands. `objects` and `missed` count an
    image's objects, and those that no box of the table stands for; `missed_factor` as the factors. Seconds are an image's: as expected
    with these drafts, with those from `fixed_confidence` on, and without any.
    """

    run: str
    images: int
    score: str
    thresholds: Mapping[str, float]
    other: float
    duplicates: bool
    other_class: bool
    slivers: bool
    edges: tuple[float, ...]
    rates: Mapping[str, tuple[Shares, ...]]
    other_rates: tuple[Shares, ...]
    objects: float
    missed: float
    seconds: float
    fixed_seconds: float
    fixed_confidence: float
    drawing_seconds: float
    factors: Mapping[str, Shares] = field(default_factory=dict)
    other_factors: Shares = (1.0, 1.0, 1.0)
    missed_factor: float = 1.0
    experience: Mapping[str, Experience] = field(default_factory=dict)
    missed_experience: tuple[float, float] = (0.0, 0.0)
    """Boxes that people added, and as many as were expected."""
    returned: Returned = Returned()

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ValueError(f"'{self.score}' is no score")
        if not self.edges or any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("edges must rise")
        for rates in (self.other_rates, *self.rates.values()):
            if len(rates) != len(self.edges) or not all(abs(sum(shares) - 1) < 1e-4 for shares in rates):
                raise ValueError("rates must be shares of a whole, three for each edge")
        if any(not 0 <= threshold <= NEVER for threshold in (self.other, *self.thresholds.values())):
            raise ValueError(f"a threshold must lie between 0 and {NEVER:g}")
        if min(self.missed_factor, *self.other_factors, *(one for three in self.factors.values() for one in three)) <= 0:
            raise ValueError("a factor must be more than 0")

    def held_out_shares(self, label: str, score: float) -> Shares:
        """What became of held-out boxes of this class and score."""
        return self.rates.get(label, self.other_rates)[max(bisect_right(self.edges, score) - 1, 0)]

    def shares(self, label: str, score: float) -> Shares:
        """What will become of such a box, if it is shown."""
        held_out, factors = self.held_out_shares(label, score), self.factors.get(label, self.other_factors)
        weighed = [share * factor for share, factor in zip(held_out, factors, strict=True)]
        whole = sum(weighed)
        return weighed[KEEP] / whole, weighed[NUDGE] / whole, weighed[DELETE] / whole


def rules(drafts: Drafts, learned: LearnedDrafts | None, wanted: Wanted | None = None) -> DraftRules:
    """Which drafts are shown: from the learned thresholds on, or, where there are none or `drafts.learned` is off, from
    `drafts.min_confidence` on. A confidence that the tagger asks for wins."""
    low, high = (wanted.min_confidence, wanted.max_confidence) if wanted else (None, None)
    high = drafts.max_confidence if high is None else high
    if low is not None or learned is None or not drafts.learned:
        return fixed(drafts.min_confidence if low is None else low, high, drafts.max_tags_per_pixel)
    return DraftRules(
        learned.thresholds,
        learned.other,
        learned.score,
        drafts.min_confidence,
        high,
        learned.duplicates,
        learned.other_class,
        learned.slivers,
        drafts.max_tags_per_pixel,
    )
