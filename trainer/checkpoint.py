"""A training run that can go on: everything that a step depends on, as bytes.

Rule: only tensors and plain values are read back, so a file from outside cannot run code.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

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


def read(encoded: bytes) -> Checkpoint | None:
    """The inverse of `to_bytes`; None for one of before version 0.4, which drew its batches otherwise, so that no run can go on from it.

    Raises `UserError` when it is no such file.
    """
    names = {field.name for field in fields(Checkpoint)}
    advice = "the run's checkpoint is damaged or of another version; delete it, and the run starts anew"
    found = read_archive(encoded, names, advice, optional={"looks"})
    return Checkpoint(**found) if "looks" in found else None
