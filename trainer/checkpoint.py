"""A training run that can go on: everything that a step depends on, as bytes.

Rule: only tensors and plain values are read back, so a file from outside cannot run code.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from activelearning.errors import UserError
from trainer.weights import read_archive


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A run after `iteration` steps: the states of the model, of its moving average and of the optimizer, and the losses on the
    validation share so far."""

    iteration: int
    model: Mapping[str, Any]
    average: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    looks: tuple[float, ...] = ()

    def to_bytes(self) -> bytes:
        """The checkpoint as torch's zip archive."""
        buffer = io.BytesIO()
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "Checkpoint":
        """The inverse of `to_bytes`. Raises `UserError` when it is no such file."""
        return cls(**read_archive(encoded, _NAMES, _ADVICE))


_NAMES = frozenset(field.name for field in fields(Checkpoint))
_OLD_NAMES = _NAMES - {"looks"}
_ADVICE = "the run's checkpoint is damaged or of another version; delete it, and the run starts anew"


def is_of_before_0_4(encoded: bytes) -> bool:
    """Whether it is a checkpoint of a version that drew its batches otherwise, so that no run can go on from it."""
    try:
        read_archive(encoded, _OLD_NAMES, _ADVICE)
    except UserError:
        return False
    return True
