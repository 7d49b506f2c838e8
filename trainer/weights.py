"""A trained model's weights as bytes, and what a new run takes over from them.

Rule: only tensors and plain values are read back (`weights_only`), so a file from outside cannot run code.
"""

import io
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from activelearning.errors import UserError


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A model's state by parameter name, with the family it belongs to, the classes, in order, it was trained on, and what else its network
    depends on (`detectors.Detector.architecture`)."""

    family: str
    classes: tuple[str, ...]
    state: Mapping[str, Tensor]
    architecture: str = ""

    def to_bytes(self) -> bytes:
        """The weights as torch's zip archive."""
        buffer = io.BytesIO()
        fields = {"family": self.family, "classes": list(self.classes), "state": dict(self.state), "architecture": self.architecture}
        torch.save(fields, buffer)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, encoded: bytes) -> "Weights":
        """The inverse of `to_bytes`. Raises `UserError` when it is no such file."""
        names = {"family", "classes", "state", "architecture"}
        found = read_archive(encoded, names, "the last model's weights are damaged; train from scratch", optional={"architecture"})
        return cls(found["family"], tuple(found["classes"]), found["state"], found.get("architecture", ""))


def read_archive(encoded: bytes, names: Set[str], advice: str, optional: Set[str] = frozenset()) -> dict[str, Any]:
    """The fields of one of torch's archives, tensors on the CPU; nothing in it is executed.

    Raises `UserError` with `advice` when it is damaged, holds anything but tensors and plain values, or has other fields than `names`, of
    which those that are `optional` may be missing.
    """
    try:
        fields = torch.load(io.BytesIO(encoded), map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise UserError(advice) from error
    if not isinstance(fields, dict) or not names - optional <= fields.keys() <= names:
        raise UserError(advice)
    return fields


def weights_of(model: nn.Module, family: str, classes: Sequence[str]) -> Weights:
    """A copy of the model's weights, on the CPU."""
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    return Weights(family, tuple(classes), state, model.architecture)


def warm_start(model: nn.Module, weights: Weights, family: str, classes: Sequence[str]) -> str:
    """Load an earlier model's weights into a fresh one, and return one sentence that says what was taken over.

    With other classes than before (or another order) the layers that depend on them stay fresh.
    Raises `UserError` when the weights belong to another family or to another version of this one.
    """
    if weights.family != family:
        raise UserError(f"the last model is of family '{weights.family}', not '{family}': set training.warm_iterations to 0")
    same_classes = weights.classes == tuple(classes)
    fresh = model.own_state + (() if same_classes else tuple(f"{layer}." for layer in model.class_layers))
    taken = {name: value for name, value in weights.state.items() if not name.startswith(fresh)}
    try:
        model.load_state_dict({**model.state_dict(), **taken})
    except RuntimeError as error:
        raise UserError(f"the last model's weights do not fit this version of '{family}': set training.warm_iterations to 0") from error
    if same_classes:
        return "all weights of the last model were taken over"
    return f"the classes changed from {', '.join(weights.classes)}: all weights but the class layer's were taken over"
