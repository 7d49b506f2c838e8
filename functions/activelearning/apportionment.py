"""Whose turn it is: shares of a whole, turn by turn, so that every prefix has its fair part.

Rule: exact. Shares are whole numbers, for sums of floats miss the turn at which a quota is met exactly.
"""

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count


def in_millionths(shares: Mapping[str, float]) -> dict[str, int]:
    """Shares as whole numbers, in the order of their names; none that is above 0 becomes 0."""
    return {name: max(round(share * 1_000_000), int(share > 0)) for name, share in sorted(shares.items())}


def seats(weights: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, for ever: indices of the weights, all above 0, such that after n turns each has floor or ceil of its share of n.

    The quota method of apportionment (Balinski and Young, 1975): the next seat goes to the largest q / (a + 1) among those with
    a < q * (n + 1), where q is a share and a the seats it has. Here as deadlines: a seat may be given from turn floor(a / q) on, and
    the earliest (a + 1) / q goes first. Ties go to the lower index.
    """
    total = sum(weights)
    early: list[tuple[int, int, int]] = []
    due = [(1 / weight, index, 0) for index, weight in enumerate(weights)]
    heapify(due)
    for turn in count():
        while early and early[0][0] <= turn:
            _, index, given = heappop(early)
            heappush(due, ((given + 1) / weights[index], index, given))
        _, index, given = heappop(due)
        heappush(early, ((given + 1) * total // weights[index], index, given + 1))
        yield index


def in_turn(shares: Sequence[int], queues: Sequence[Iterator[int]]) -> Iterator[int]:
    """Draw from the queues by their shares until all are dry.

    When one runs dry, its share is spread over the others in proportion to theirs, and their turns are counted anew from there.
    """
    alive = list(zip(shares, queues, strict=True))
    while alive:
        for turn in seats([share for share, _ in alive]):
            drawn = next(alive[turn][1], None)
            if drawn is None:
                del alive[turn]
                break
            yield drawn
