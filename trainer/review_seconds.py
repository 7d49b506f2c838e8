"""The seconds that people are expected to need for each image of a pool: what strategies divide their score by.

Rule: by what was learned of the drafts of the model that predicted the pool; without that, by the probability that each box is right.
"""

import numpy as np

from activelearning import drafts_record, learned_drafts, threshold_meaning
from activelearning.settings import Settings
from activelearning.store import Blobs
from trainer.query import cost
from trainer.query.candidates import Candidates


def of_pool(blobs: Blobs, settings: Settings, model: str, candidates: Candidates) -> np.ndarray:
    """Seconds (N,) float64, above 0; `model` is the run whose model predicted all of the pool, empty where that is not one."""
    learned = drafts_record.read(blobs, model)
    rules = learned_drafts.rules(threshold_meaning.drafts(blobs, settings.drafts, model), learned)
    odds = cost.by_experience(candidates, learned) if learned else cost.by_probability(candidates)
    return cost.expected_seconds(candidates, settings.costs, rules, odds)
