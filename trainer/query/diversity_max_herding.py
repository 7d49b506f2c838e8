"""MaxHerding: choose what is most like as much of the pool as possible.

Greedy maximisation of generalised coverage (Bae, Noh and Sutherland, ECCV 2024): the mean over the pool of the largest kernel value to a
labelled or chosen image. The kernel is exp(-d² / s²), with the median of the pool's distances for s.
"""

from dataclasses import dataclass

import numpy as np

from trainer.query import diversity
from trainer.query.diversity import Chosen

CANDIDATES = 16_384
"""Of a larger pool so many, drawn at random, may be chosen."""
JUDGES = 8192
"""Of a larger pool the mean is taken over so many, drawn at random: it is then right to about a hundredth."""
_FOR_BANDWIDTH = 1024
_TOGETHER = 64


def max_herding(
    embeddings: np.ndarray, labelled: np.ndarray, count: int, seed: int, *, candidates: int = CANDIDATES, judges: int = JUDGES
) -> Chosen:
    """Choose up to `count` of N embeddings (N, D), given those of the labelled set (M, D), which may be none.

    Of equal gains the first is chosen; fewer are chosen when no image gains anything. `worth` is by how much the mean grew; of the others,
    the last of these gains times 1 less the kernel's value to the nearest labelled or chosen image. `seed` draws so many candidates
    and judges from a pool that is larger than that; a smaller one is taken whole.
    """
    generator = np.random.default_rng(seed)
    may_be_chosen, drawn = (_sample(generator, len(embeddings), most) for most in (candidates, judges))
    labelled = diversity.thinned(labelled)
    kernel = _Kernel(bandwidth(embeddings[diversity.thinned(drawn, _FOR_BANDWIDTH)]))
    by_judges = embeddings[drawn].astype(np.float32)
    known = kernel.of_squared(diversity.to_nearest(by_judges, labelled))
    rows, gains = _greedy(kernel.matrix(embeddings[may_be_chosen], by_judges), known, count)
    first = may_be_chosen[rows]
    centres = np.concatenate([labelled, embeddings[first]]) if len(labelled) else embeddings[first]
    unlike = 1 - kernel.of_squared(diversity.to_nearest(embeddings, centres)).astype(np.float64)
    worth = unlike * (gains[-1] if len(gains) else 1.0)
    worth[first] = gains
    return Chosen(first, worth)


def bandwidth(embeddings: np.ndarray) -> float:
    """The median distance between two of the rows (N, D); of the different ones where half are the same, and 1 where all are."""
    rows = embeddings.astype(np.float32)
    distances = np.sqrt(diversity.squared_distances(rows, rows)[np.triu_indices(len(rows), 1)])
    apart = distances[distances > 0]
    if not len(apart):
        return 1.0
    return float(np.median(distances) or np.median(apart))


@dataclass(frozen=True, slots=True)
class _Kernel:
    bandwidth: float

    def of_squared(self, squared: np.ndarray) -> np.ndarray:
        return np.exp(-squared / np.float32(self.bandwidth**2))

    def matrix(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(N, M) float32, made in slices, so that little more than itself is in memory."""
        found = np.empty((len(first), len(second)), np.float32)
        for start in range(0, len(first), 512):
            place = slice(start, start + 512)
            found[place] = self.of_squared(diversity.squared_distances(first[place].astype(np.float32), second))
        return found


def _sample(generator: np.random.Generator, total: int, most: int) -> np.ndarray:
    return np.arange(total) if total <= most else np.sort(generator.choice(total, most, replace=False))


def _greedy(kernel: np.ndarray, known: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the kernel matrix (candidates, judges), best first, and the gain of each; `known` (judges,) is what is covered already.

    A row gains less and less as others are chosen, so only those whose last known gain is large are measured again (Minoux 1978).
    """
    covered = known.astype(np.float32)
    gain = _gains(kernel, np.arange(len(kernel)), covered)
    measured = np.zeros(len(kernel), np.int64)
    chosen, gains = list[int](), list[float]()
    while len(chosen) < min(count, len(kernel)):
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        if measured[best] == len(chosen):
            chosen.append(best)
            gains.append(float(gain[best]))
            covered = np.maximum(covered, kernel[best])
            gain[best] = -1
            continue
        stale = np.argpartition(-gain, min(_TOGETHER, len(gain)) - 1)[:_TOGETHER]
        stale = np.union1d(stale[measured[stale] < len(chosen)], [best])
        stale = stale[gain[stale] >= 0]
        gain[stale], measured[stale] = _gains(kernel, stale, covered), len(chosen)
    return np.array(chosen, np.int64), np.array(gains)


def _gains(kernel: np.ndarray, rows: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """How much the mean over the judges grows by each row, (len(rows),) float64."""
    found = np.empty(len(rows))
    for start in range(0, len(rows), 256):
        more = kernel[rows[start : start + 256]] - covered
        found[start : start + 256] = np.maximum(more, 0, out=more).mean(1, dtype=np.float64)
    return found
