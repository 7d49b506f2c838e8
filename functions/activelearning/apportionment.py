"""Whose turn it is: shares of a whole, turn by turn, so that every prefix has its fair part.

Rule: exact. Shares are whole numbers, for sums of floats miss the turn at which a quota is met exactly.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count


def in_millionths(shares: Mapping[str, float]) -> dict[str, int]:
    """The shares above 0 as whole numbers above 0, in the order of their names."""
    return {name: max(round(share * 1_000_000), 1) for name, share in sorted(shares.items()) if share > 0}


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


def in_turn(shares: Mapping[str, int], queues: Mapping[str, Iterator[int]]) -> Iterator[int]:
    """Draw from the queues by their shares, all above 0, until every queue that has one is dry.

    When one runs dry, its share is spread over the others in proportion to theirs, and their turns are counted anew from there.
    """
    alive = list(shares)
    while alive:
        for turn in seats([shares[name] for name in alive]):
            drawn = next(queues[alive[turn]], None)
            if drawn is None:
                del alive[turn]
                break
            yield drawn


def alternately(queues: Iterable[Iterator[int]]) -> Iterator[int]:
    """Draw one from each queue, again and again, until all are dry: `in_turn` for equal shares, however many queues there are."""
    ring = deque(queues)
    while ring:
        queue = ring.popleft()
        drawn = next(queue, None)
        if drawn is not None:
            ring.append(queue)
            yield drawn
