"""Every query strategy by its name in `selection.strategy`.

Rule: this is the only list; `settings.STRATEGIES` repeats its names for the messages, and a test compares the two. A family of
strategies is a module with a `STRATEGIES` dict, merged here.
"""

from collections.abc import Mapping
from dataclasses import replace

from activelearning.settings import Selection
from trainer.query import diverse, gain, sampling, uncertainty
from trainer.query.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {
    # a lot that is weighed is none any more
    **{name: replace(strategy, by_place=True) for name, strategy in sampling.STRATEGIES.items()},
    **uncertainty.STRATEGIES,
    **gain.STRATEGIES,
    **diverse.STRATEGIES,
}


def in_force(selection: Selection) -> Selection:
    """The selection as it counts: without what its strategy ignores, and per second where that is what it means."""
    strategy = STRATEGIES[selection.strategy]
    if selection.strategy in sampling.STRATEGIES:
        selection = replace(selection, random_share=0.0)
    if strategy.by_place:
        return replace(selection, per_second=False, class_weights="none")
    return replace(selection, per_second=selection.per_second or strategy.per_second)
