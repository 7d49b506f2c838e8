"""Which boxes the machine may accept without a look, so that of those it accepts a promised share is right.

Rule: a promise is made only where what people reviewed proves it, class by class; where it does not, the answer is how much more is
needed. A box is right when it has the right class and overlaps an object of its own by IoU 0.5 (`Judged.correct`).

The proof. Reviewed boxes of a class stand in the order of their sureness, the boxes of the pool beside them. To accept all from some
sureness on is refuted unless, with the stated confidence, no more of the pool's boxes there are wrong than the promise allows; as both
come from one population, the number of wrong ones among reviewed and accepted together follows the hypergeometric distribution. Ever
looser thresholds are tested in a fixed order until one fails, so that looking for the loosest costs no confidence (fixed sequences,
Maurer et al. 1995). Where the order begins depends on how many boxes there are, never on which of them are right.

Boxes of one image are right or wrong together more often than chance would have it, so they prove less than as many from as many images:
all counts are divided by the design effect that the reviewed boxes show (Kish 1965; for exact bounds Korn and Graubard 1998).
"""

import bisect
import math
from dataclasses import dataclass

import numpy as np

_ALLOWED_AT_START = (2, 1, 0)
"""The first threshold tested lets in as many boxes as prove the promise though so many of them are wrong: the first of these numbers for
which there are enough. Begun earlier, a single wrong box among the surest would end it."""
_LEAST = 0.005
_STRIDE = 1.15
"""Each threshold tested lets in so many times as many reviewed boxes as the one before."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is accepted of one class.

    Boxes whose sureness is at least `threshold` are accepted; None: no box. Of the `reviewed` boxes of the class that are as sure (all
    reviewed ones where there is no threshold) `wrong` were wrong. `bound` is the lower confidence bound of the accepted boxes'
    precision. Without a threshold `needed` says about how many more reviewed boxes of the class would prove it, None when no number of
    them would, because too many of the surest are wrong.
    """

    label: str
    threshold: float | None
    reviewed: int
    wrong: int
    bound: float
    needed: int | None

    def __str__(self) -> str:
        if self.threshold is not None:
            return f"{self.label}: precision at least {self.bound:.4f}, {self.wrong} of {self.reviewed:,} reviewed boxes as sure were wrong"
        if self.needed is None:
            return f"{self.label}: too many of the surest boxes are wrong ({self.wrong} of {self.reviewed:,} reviewed boxes)"
        return f"{self.label}: not enough evidence: about {self.needed:,} more reviewed boxes of class {self.label} needed"


def class_rule(
    label: str,
    sureness: np.ndarray,
    correct: np.ndarray,
    image: np.ndarray,
    pool: np.ndarray,
    *,
    precision: float,
    confidence: float,
) -> Rule:
    """The loosest rule for one class that the reviewed boxes prove.

    `sureness` (N,), `correct` (N,) bool and `image` (N,) int of the reviewed boxes, which the model was not trained on; `pool` (M,) the
    sureness of the boxes to accept from. Equal sureness is accepted or refused together.
    """
    order = np.argsort(-sureness, kind="stable")
    effect = _design_effects(image[order], correlation(sureness, correct, image))
    evidence = _Evidence(sureness[order], np.cumsum(~correct[order]), effect, np.sort(pool), 1 - precision)
    accepted = _loosest(evidence, 1 - confidence)
    if accepted is None:
        return Rule(label, None, len(order), int((~correct).sum()), 0.0, _needed(evidence, 1 - confidence))
    reviewed, wrong = accepted + 1, int(evidence.wrong[accepted])
    bound = evidence.bound(accepted, confidence)
    return Rule(label, float(evidence.sureness[accepted]), reviewed, wrong, bound, 0)


def precision_bound(wrong: int, reviewed: int, accepted: int, confidence: float) -> float:
    """The share of `accepted` boxes that is right at least, with this confidence, when `wrong` of `reviewed` ones like them were wrong.

    Exact (hypergeometric); for ever more accepted boxes it becomes the bound of Clopper and Pearson (1934). Of no boxes, all are right.
    """
    low, high = 0, accepted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _chance(wrong, reviewed, accepted, middle) > 1 - confidence else (low, middle - 1)
    return 1 - low / accepted if accepted else 1.0


def share_bound(wrong: int, reviewed: int, confidence: float) -> float:
    """The share that is right at least, of however many more, when `wrong` of `reviewed` were wrong (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return float(beta.ppf(1 - confidence, reviewed - wrong, wrong + 1)) if wrong < reviewed else 0.0


def is_refuted(wrong: int, audited: int, precision: float, confidence: float) -> bool:
    """Whether so many wrong ones among the audited refute, with this confidence, that the promised share is right."""
    from scipy.stats import binom

    return wrong > 0 and float(binom.sf(wrong - 1, audited, 1 - precision)) <= 1 - confidence


def least_reviewed(wrong: int, precision: float, confidence: float) -> int:
    """How many reviewed boxes prove the precision of any number of accepted ones, when so many of them were wrong."""
    low, high = wrong, wrong + 1
    while share_bound(wrong, high, confidence) < precision:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share_bound(wrong, middle, confidence) < precision else (low, middle)
    return high


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """Reviewed boxes, surest first, how many up to each are wrong and with what design effect, the pool's sureness ascending, and the
    share allowed to be wrong."""

    sureness: np.ndarray
    wrong: np.ndarray
    effect: np.ndarray
    pool: np.ndarray
    allowed: float

    def accepted(self, index: int) -> int:
        """How many boxes of the pool are as sure as this reviewed one."""
        return len(self.pool) - int(np.searchsorted(self.pool, self.sureness[index]))

    def proves(self, index: int, wrong: int, doubt: float) -> bool:
        """Whether the boxes up to this one, so many of them wrong, refute that too many accepted ones are wrong."""
        effect = float(self.effect[index])
        reviewed, accepted = int((index + 1) / effect), math.ceil(self.accepted(index) / effect)
        allowed = math.floor(self.allowed * accepted + 1e-9)
        return _chance(min(math.ceil(wrong / effect), reviewed), reviewed, accepted, allowed + 1) <= doubt

    def bound(self, index: int, confidence: float) -> float:
        """What is proved of the boxes that are as sure as this reviewed one."""
        effect = float(self.effect[index])
        reviewed, accepted = int((index + 1) / effect), math.ceil(self.accepted(index) / effect)
        return precision_bound(min(math.ceil(int(self.wrong[index]) / effect), reviewed), reviewed, accepted, confidence)

    def places(self) -> np.ndarray:
        """The indices at which a threshold may lie: the last of equally sure boxes."""
        return np.flatnonzero(np.append(np.diff(self.sureness) != 0, True)[: len(self.sureness)])


def correlation(sureness: np.ndarray, correct: np.ndarray, image: np.ndarray) -> float:
    """How alike the boxes of one image are, 0..1: the mean correlation of being right between two of them, given how sure each is.

    What sureness explains is taken away first (isotonic regression), or images of easy boxes would look alike.
    """
    from sklearn.isotonic import IsotonicRegression

    if correct.all() or not correct.any():
        return 0.0
    expected = IsotonicRegression(out_of_bounds="clip").fit(sureness, correct.astype(float)).predict(sureness).clip(_LEAST, 1 - _LEAST)
    _, image = np.unique(image, return_inverse=True)
    together, alone = (_pairs(image, values) for values in (correct - expected, np.sqrt(expected * (1 - expected))))
    return float(np.clip(together / alone, 0, 1)) if alone > 0 else 0.0


def _pairs(image: np.ndarray, values: np.ndarray) -> float:
    """The sum over all ordered pairs of two boxes of one image of the product of their values."""
    return float((np.bincount(image, values) ** 2 - np.bincount(image, values**2)).sum())


def _design_effects(image: np.ndarray, correlated: float) -> np.ndarray:
    """(N,) for every number of boxes, from the first on: how many boxes count as much as one that is the only one of its image."""
    seen: dict[int, int] = {}
    beside = np.zeros(len(image))
    for index, one in enumerate(image.tolist()):
        beside[index] = 2 * seen.get(one, 0)
        seen[one] = seen.get(one, 0) + 1
    return 1 + correlated * np.cumsum(beside) / np.arange(1, len(image) + 1)


def _chance(wrong: int, reviewed: int, accepted: int, wrong_accepted: int) -> float:
    """How likely no more than `wrong` of the reviewed are wrong if so many of the accepted are."""
    from scipy.stats import hypergeom

    if wrong_accepted > accepted:
        # not even all of them: the promise allows whatever may be there
        return 0.0
    return float(hypergeom.cdf(wrong, reviewed + accepted, wrong + wrong_accepted, reviewed))


def _loosest(evidence: _Evidence, doubt: float) -> int | None:
    """The index of the last reviewed box that may be accepted."""
    loosest = None
    for place in _sequence(evidence, doubt):
        if not evidence.proves(place, int(evidence.wrong[place]), doubt):
            break
        loosest = place
    return loosest


def _sequence(evidence: _Evidence, doubt: float) -> list[int]:
    """The places to test, in order, in ever longer strides."""
    places = evidence.places()
    starts = (_start(evidence, places, wrong, doubt) for wrong in _ALLOWED_AT_START)
    chosen = [next((start for start in starts if start < len(places)), len(places))]
    while chosen[-1] < len(places):
        following = math.ceil((places[chosen[-1]] + 1) * _STRIDE) - 1
        chosen.append(max(chosen[-1] + 1, int(np.searchsorted(places, following))))
    return [int(places[index]) for index in chosen[:-1]]


def _start(evidence: _Evidence, places: np.ndarray, wrong: int, doubt: float) -> int:
    """Which of the places is the first where so many wrong boxes would be few enough; beyond the last where none is."""
    return bisect.bisect_left(
        range(len(places)), True, key=lambda index: places[index] >= wrong and evidence.proves(int(places[index]), wrong, doubt)
    )


def _needed(evidence: _Evidence, doubt: float) -> int | None:
    """How many more reviewed boxes would do, if they are as often right as the surest are; None if those are too often wrong."""
    counts = np.arange(1, len(evidence.wrong) + 1)
    if not len(counts):
        return least_reviewed(0, 1 - evidence.allowed, 1 - doubt)
    surest = np.flatnonzero(evidence.wrong <= evidence.allowed / 2 * counts)
    if not len(surest):
        return None
    reviewed = int(surest[-1]) + 1
    enough = _enough(int(evidence.wrong[surest[-1]]) / reviewed, evidence.allowed, doubt)
    # of the reviewed boxes of the class only some are as sure
    return max(1, math.ceil((enough - reviewed) * len(counts) / reviewed))


def _enough(rate: float, allowed: float, doubt: float) -> int:
    """The least number of reviewed boxes that proves the promise if this share of them is wrong, at most half of what is allowed."""
    wrong = 0
    while math.ceil(rate * (enough := least_reviewed(wrong, 1 - allowed, 1 - doubt)) - 1e-9) > wrong:
        wrong += 1
    return enough
