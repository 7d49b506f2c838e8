"""Every query strategy by its name in `selection.strategy`.

Rule: this is the only list; `settings.STRATEGIES` repeats its names for the messages, and a test compares the two. A family of
strategies is a module with a `STRATEGIES` dict, merged here.
"""

from collections.abc import Mapping

from trainer.query import diverse, gain, sampling, uncertainty
from trainer.query.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {**sampling.STRATEGIES, **uncertainty.STRATEGIES, **gain.STRATEGIES, **diverse.STRATEGIES}
