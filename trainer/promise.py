"""Which boxes the machine may accept without a look, so that of those it accepts a promised share is right.

Rule: a promise is made only where what people reviewed proves it, class by class; where it does not, the answer is how much more is
needed. A box is right when it has the right class and overlaps an object of its own by IoU 0.5 (`Judged.correct`).

The proof. Reviewed boxes of a class stand in the order of their sureness, the boxes of the pool beside them. To accept all from some
sureness on is refuted unless, with the stated confidence, no more of the pool's boxes there are wrong than the promise allows; as both
come from one population, the number of wrong ones among reviewed and accepted together follows the hypergeometric distribution. Ever
looser thresholds are tested in a fixed order until one fails, so that looking for the loosest costs no confidence (fixed sequences,
Maurer et al. 1995). Which are tested depends on how many boxes there are, not on which of them are right.

Boxes of one image are right or wrong together more often than chance would have it, so they prove less than as many from as many images:
all counts are divided by the design effect that the reviewed boxes show (`design_effect`).

What the proof rests on: the reviewed boxes are like those of the pool. A test split drawn from what people were shown first holds more of
the hard ones, which costs acceptance; where it is unlike the pool in another way, only the audit of accepted images tells.
"""

import math
from dataclasses import dataclass

import numpy as np

from trainer import design_effect

_ALLOWED_AT_START = (2, 1, 0)
"""Only thresholds are tested that would prove the promise though so many of the boxes are wrong: the first of these numbers for which there
are any. Begun earlier, a single wrong box among the surest would end it."""
_STRIDE = 1.15
"""Each threshold tested lets in so many times as many reviewed boxes as the one before."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is accepted of one class.

    Boxes whose sureness is at least `threshold` are accepted; None: no box. Of the `reviewed` boxes of the class that are as sure (all
    reviewed ones where there is no threshold) `wrong` were wrong. `bound` is the lower confidence bound of the accepted boxes'
    precision. Without a threshold `needed` says about how many more reviewed boxes of the class would prove it, 0 where the pool holds
    none to accept, None when no number of them would, because too many of the surest are wrong.
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
        if self.needed == 0:
            return f"{self.label}: there is none in the pool"
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
    """The loosest rule for one class that the reviewed boxes prove, and that accepts any box at all.

    `sureness` (N,), `correct` (N,) bool and `image` (N,) int of the reviewed boxes, which the model was not trained on; `pool` (M,) the
    sureness of the boxes to accept from. Equal sureness is accepted or refused together.
    """
    order = np.argsort(-sureness, kind="stable")
    effect = design_effect.of_the_first(image[order], design_effect.correlation(sureness, correct, image))
    evidence = _Evidence(sureness[order], np.cumsum(~correct[order]), effect, np.sort(pool), 1 - precision)
    last = _loosest(evidence, 1 - confidence)
    if last is None:
        needed = _needed(evidence, 1 - confidence) if len(pool) else 0
        return Rule(label, None, len(order), int((~correct).sum()), 0.0, needed)
    bound = evidence.bound(last, confidence)
    return Rule(label, float(evidence.sureness[last]), last + 1, int(evidence.wrong[last]), bound, 0)


def precision_bound(wrong: int, reviewed: int, accepted: int, confidence: float) -> float:
    """The share of `accepted` boxes that is right at least, with this confidence, when `wrong` of `reviewed` ones like them were wrong.

    Exact (hypergeometric); for ever more accepted boxes it becomes the bound of Clopper and Pearson (1934). Of no boxes, all are right.
    """
    low, high = 0, accepted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if float(_chance(wrong, reviewed, accepted, middle)) > 1 - confidence else (low, middle - 1)
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

    def places(self) -> np.ndarray:
        """The indices at which a threshold may lie: the last of equally sure boxes, where the pool holds any box as sure."""
        last = np.flatnonzero(np.append(np.diff(self.sureness) != 0, True)[: len(self.sureness)])
        return last[self.accepted(last) > 0]

    def accepted(self, index: np.ndarray) -> np.ndarray:
        """How many boxes of the pool are as sure as these reviewed ones."""
        return len(self.pool) - np.searchsorted(self.pool, self.sureness[index])

    def proves(self, index: np.ndarray, wrong: np.ndarray, doubt: float) -> np.ndarray:
        """Whether the boxes up to each of these, so many of them wrong, refute that too many accepted ones are wrong."""
        wrong, reviewed, accepted = self._counted(index, wrong)
        allowed = np.floor(self.allowed * accepted + 1e-9)
        return _chance(wrong, reviewed, accepted, allowed + 1) <= doubt

    def bound(self, index: int, confidence: float) -> float:
        """What is proved of the boxes that are as sure as this reviewed one."""
        at = np.array([index])
        counts = (int(count[0]) for count in self._counted(at, self.wrong[at]))
        return precision_bound(*counts, confidence)

    def _counted(self, index: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How many boxes count as wrong, as reviewed and as accepted up to each index, each alone in its image as it were."""
        effect = self.effect[index]
        reviewed = np.floor((index + 1) / effect)
        return np.minimum(np.ceil(wrong / effect), reviewed), reviewed, np.ceil(self.accepted(index) / effect)


Counts = int | np.ndarray


def _chance(wrong: Counts, reviewed: Counts, accepted: Counts, wrong_accepted: Counts) -> np.ndarray:
    """How likely no more than `wrong` of the reviewed are wrong if so many of the accepted are; 0 where there are fewer accepted ones."""
    from scipy.stats import hypergeom

    possible = np.minimum(wrong_accepted, accepted)
    chance = hypergeom.cdf(wrong, reviewed + accepted, wrong + possible, reviewed)
    # more than all of them: the promise allows whatever may be there
    return np.where(wrong_accepted > accepted, 0.0, chance)


def _loosest(evidence: _Evidence, doubt: float) -> int | None:
    """The index of the last reviewed box that may be accepted."""
    places = _sequence(evidence, doubt)
    proved = evidence.proves(places, evidence.wrong[places], doubt)
    first_failure = int(np.argmin(np.append(proved, False)))
    return int(places[first_failure - 1]) if first_failure else None


def _sequence(evidence: _Evidence, doubt: float) -> np.ndarray:
    """The indices to test, in order, in ever longer strides."""
    places = evidence.places()
    enough = (_proved_with(evidence, places, wrong, doubt) for wrong in _ALLOWED_AT_START)
    chosen: list[int] = []
    for place in next(filter(len, enough), places[:0]).tolist():
        if not chosen or place + 1 >= (chosen[-1] + 1) * _STRIDE:
            chosen.append(place)
    return np.array(chosen, np.int64)


def _proved_with(evidence: _Evidence, places: np.ndarray, wrong: int, doubt: float) -> np.ndarray:
    """Those of the places that would prove the promise with so many wrong boxes."""
    places = places[places >= wrong]
    return places[evidence.proves(places, np.full(len(places), wrong), doubt)]


def _needed(evidence: _Evidence, doubt: float) -> int | None:
    """How many more reviewed boxes would do, if they are as often right as the surest are; None if those are too often wrong."""
    counts = np.arange(1, len(evidence.wrong) + 1)
    if not len(counts):
        return least_reviewed(0, 1 - evidence.allowed, 1 - doubt)
    surest = np.flatnonzero(evidence.wrong <= evidence.allowed / 2 * counts)
    if not len(surest):
        return None
    reviewed = int(surest[-1]) + 1
    enough = _enough(int(evidence.wrong[surest[-1]]) / reviewed, evidence.allowed, doubt) * float(evidence.effect[reviewed - 1])
    # of the reviewed boxes of the class only some are as sure
    return max(1, math.ceil((enough - reviewed) * len(counts) / reviewed))


def _enough(rate: float, allowed: float, doubt: float) -> int:
    """The least number of reviewed boxes that proves the promise if this share of them is wrong, at most half of what is allowed."""
    wrong = 0
    while math.ceil(rate * (enough := least_reviewed(wrong, 1 - allowed, 1 - doubt)) - 1e-9) > wrong:
        wrong += 1
    return enough
