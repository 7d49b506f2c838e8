"""The shared core of the active-learning loop: values, rules, formats, the store, the steps."""
