"""Which boxes the machine may accept without a look, so that of those it accepts a promised share is right.

Rule: a promise is made only where what people reviewed proves it, class by class; where it does not, the answer is how much more is
needed. A box is right when it has the right class and overlaps an object of its own by IoU 0.5 (`Judged.correct`).

The proof. Reviewed boxes of a class stand in the order of their sureness, the boxes of the pool beside them. To accept all from some
sureness on is refuted unless, with the stated confidence, no more of the pool's boxes there are wrong than the promise allows; as both
come from one population, the number of wrong ones among reviewed and accepted together follows the hypergeometric distribution. Ever
looser thresholds are tested in a fixed order until one fails, so that looking for the loosest costs no confidence (fixed sequences,
Maurer et al. 1995). Which are tested depends on how many boxes there are and on their design effect, not on which of them are right.

Boxes of one image are right or wrong together more often than chance would have it, so they prove less than as many from as many images:
all counts are divided by the design effect that the reviewed boxes show (`design_effect`). It is an estimate, and so is the proof then.

What the proof rests on: the reviewed boxes are like those of the pool. A test split drawn from what people were shown first holds more of
the hard ones, which costs acceptance; where it is unlike the pool in another way, only the audit of accepted images tells.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trainer import design_effect

_ALLOWED_AT_START = (2, 1, 0)
"""First thresholds are tested that would prove the promise though so many of the boxes are wrong, then looser ones for which fewer must be.
Begun earlier, a single wrong box among the surest would end it."""
_STRIDE = 1.15
"""Each threshold tested lets in so many times as many reviewed boxes as the one before."""
_MOST_WRONG = 50
"""What is not proved with so many wrong boxes, and in proportion more right ones, is taken to be out of reach."""


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


def is_proved(correct: np.ndarray, effect: float, *, precision: float, confidence: float) -> bool:
    """Whether reviewed boxes with this design effect prove that of however many like them enough are right."""
    reviewed = int(len(correct) / effect)
    return share_bound(min(math.ceil(int((~correct).sum()) / effect), reviewed), reviewed, confidence) >= precision


def stricter(first: Rule, second: Rule) -> Rule:
    """Of two rules of a class the one that accepts less."""
    return min(first, second, key=lambda rule: -math.inf if rule.threshold is None else -rule.threshold)


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
    return _least(wrong + 1, lambda reviewed: share_bound(wrong, reviewed, confidence) >= precision)


def _least(low: int, is_enough: Callable[[int], bool]) -> int:
    """The least number from `low` on that is enough, where every larger one is too."""
    high = low
    while not is_enough(high):
        low, high = high + 1, high * 2
    return bisect.bisect_left(range(low, high), True, key=is_enough) + low


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
    """The indices to test, in order: those that many wrong boxes leave proved first, then looser ones that only fewer do."""
    places, chosen = evidence.places(), [-1]
    for wrong in _ALLOWED_AT_START:
        proved = _proved_with(evidence, places[places > chosen[-1]], wrong, doubt)
        # begun with most of the boxes, the less sure ones would spoil it for the surest
        if not wrong or len(chosen) > 1 or (len(proved) and 2 * proved[0] < len(evidence.sureness)):
            chosen += _in_strides(proved.tolist())
    return np.array(chosen[1:], np.int64)


def _in_strides(places: Sequence[int]) -> list[int]:
    """Some of the places, in ever longer strides; the last one always."""
    chosen: list[int] = []
    for place in places:
        if not chosen or place + 1 >= (chosen[-1] + 1) * _STRIDE or place == places[-1]:
            chosen.append(place)
    return chosen


def _proved_with(evidence: _Evidence, places: np.ndarray, wrong: int, doubt: float) -> np.ndarray:
    """Those of the places that would prove the promise with so many wrong boxes."""
    places = places[places >= wrong]
    return places[evidence.proves(places, np.full(len(places), wrong), doubt)]


def _needed(evidence: _Evidence, doubt: float) -> int | None:
    """How many more reviewed boxes would do, if they are as often right as the surest are; None if those are too often wrong."""
    if not len(evidence.places()):
        return least_reviewed(0, 1 - evidence.allowed, 1 - doubt)
    counts = np.arange(1, len(evidence.wrong) + 1)
    surest = np.flatnonzero(evidence.wrong <= evidence.allowed / 2 * counts)
    if not len(surest):
        return None
    reviewed = int(surest[-1]) + 1
    enough = _enough(int(evidence.wrong[surest[-1]]) / reviewed, max(int(evidence.accepted(surest[-1])), 1), evidence.allowed, doubt)
    if enough is None:
        return None
    # of the reviewed boxes of the class only some are as sure
    more = math.ceil((enough * float(evidence.effect[reviewed - 1]) - reviewed) * len(counts) / reviewed)
    return more if more > 0 else None


def _enough(rate: float, accepted: int, allowed: float, doubt: float) -> int | None:
    """The least number of reviewed boxes that proves the promise of so many accepted ones if this share of the reviewed is wrong."""
    refuted = math.floor(allowed * accepted + 1e-9) + 1
    for wrong in range(_MOST_WRONG):
        reviewed = _least(wrong + 1, lambda count, wrong=wrong: float(_chance(wrong, count, accepted, refuted)) <= doubt)  # type: ignore[misc]
        if math.ceil(rate * reviewed - 1e-9) <= wrong:
            return reviewed
    return None
