"""Every error this project raises on purpose, in one tree.

A `UserError` is one plain sentence: which file, which row, what is wrong, what to do. Commands print it and exit with 1.
A `StoreError` is a lost race or a missing blob: the step that meets it looks again at the records and decides afresh.
"""


class ActiveLearningError(Exception):
    """Base of all errors of this project."""


class UserError(ActiveLearningError):
    """Something a person can mend; the text is the whole message."""


class FormatError(UserError):
    """A file is not what its format demands."""


class BoxError(UserError):
    """Coordinates that make no box: not a number, no area, or wholly outside the image."""


class SettingsError(UserError):
    """A key of `project.toml` or `config.ini` is unknown, missing, or has a value that makes no sense."""


class BlobNameError(UserError):
    """A blob name that could climb out of its container or break a table."""


class Refused(UserError):
    """The store knows us, or does not, and does not let us do this."""


class StoreError(ActiveLearningError):
    """Base of what a store raises."""


class BlobMissing(StoreError):
    """No blob of that name."""


class BlobExists(StoreError):
    """Create-once: the blob is there already, and stays as it is."""


class BlobChanged(StoreError):
    """Compare-and-swap: somebody else wrote since you read."""


class MessageLost(StoreError):
    """The message's visibility ran out and another consumer has it, or it is gone."""
