"""Query strategies: which images of the pool a person should look at next.

Rule: a strategy is one entry of `registry.STRATEGIES`; measures, aggregations and combinations are entries of their own dicts, so a new
one of any kind is one function and one line. Nothing here reads a store.
"""
