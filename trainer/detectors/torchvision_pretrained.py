"""What one of torchvision's detectors is beside its family's name, and the weights of a file that it starts from.

Rule: nothing stays random in silence. Of a file every weight must have its place and every place its weight, but for the layers that
depend on the classes, which always start fresh. Files are read as tensors alone, so none can run code.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from trainer.detectors import Blueprint, torchvision_backbones
from trainer.detectors.torchvision_backbones import BACKBONES, Pyramid

_SUFFIXES = (".safetensors", ".pth", ".pt")
_DETECTOR = "backbone.body."
"""Where the names of a whole detector's weights begin, and those of a classifier's never."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Architecture:
    """`tiny`: of toy size. `frozen`: the backbone's batch norms stay as they were pretrained, as statistics of a few images are worse."""

    tiny: bool = False
    frozen: bool = False

    def __str__(self) -> str:
        """As JSON; empty where nothing is to be said."""
        return json.dumps(asdict(self)) if self.tiny or self.frozen else ""


def architecture_of(blueprint: Blueprint) -> Architecture:
    """Of a model that there was, or of a new one. Raises `UserError` where it is none of these families'."""
    if not blueprint.architecture:
        return Architecture(blueprint.tiny, blueprint.pretrained is not None)
    try:
        said = json.loads(blueprint.architecture)
        if not (isinstance(said, dict) and all(isinstance(value, bool) for value in said.values())):
            raise TypeError(f"'{said}' is no table of yes and no")
        return Architecture(**said)
    except (ValueError, TypeError) as error:
        raise UserError("what the last model's weights say of its network cannot be read; train from scratch") from error


def assembled(
    blueprint: Blueprint, backbone: str, pyramid: Pyramid, network: Callable[[nn.Module], nn.Module], fresh: Sequence[str]
) -> nn.Module:
    """torchvision's network on a backbone, with the weights to start from, if any, where they belong.

    `network` makes it of the backbone; `fresh`: the layers that stay fresh, by their names in a detector whose `network` it is. Raises
    `UserError` where the weights do not fit.
    """
    architecture = architecture_of(blueprint)
    weights = read(blueprint.pretrained) if blueprint.pretrained else None
    classifier = torchvision_backbones.classifier(backbone, architecture.tiny, architecture.frozen)
    if weights and not weights.whole:
        weights.load(classifier, (BACKBONES[backbone].head,))
    made = network(torchvision_backbones.with_pyramid(backbone, classifier, architecture.tiny, pyramid))
    if weights and weights.whole:
        weights.load(made, tuple(f"{layer.removeprefix('network.')}." for layer in fresh))
    return made


@dataclass(frozen=True, slots=True, eq=False)
class Pretrained:
    """The weights of a file, by name, and whether they are of a whole detector or of a classifier alone."""

    path: Path
    state: Mapping[str, Tensor]

    @property
    def whole(self) -> bool:
        """Whether they are of a whole detector."""
        return any(name.startswith(_DETECTOR) for name in self.state)

    def load(self, network: nn.Module, fresh: Sequence[str]) -> None:
        """Put them into a network, all but those whose names begin with one of `fresh`, which it keeps as they are.

        Raises `UserError` that names what does not fit.
        """
        taken = {name: value for name, value in self.state.items() if not name.startswith(tuple(fresh))}
        try:
            missing, unknown = network.load_state_dict(taken, strict=False)
        except RuntimeError as error:
            raise self._fault(str(error).split("\n")[-1].strip()) from error
        missing = [name for name in missing if not name.startswith(tuple(fresh))]
        if missing or unknown:
            raise self._fault(f"it lacks {_few(missing)}" if missing else f"this network has no {_few(unknown)}")

    def _fault(self, reason: str) -> UserError:
        return UserError(f"the weights in {self.path.name} do not fit this detector: {reason}; name others in detector.weights")


def read(path: Path) -> Pretrained:
    """The weights of a .pth, .pt or .safetensors file, or of the one such file in a folder. Raises `UserError` where there are none."""
    file = _file(path)
    state = _safetensors(file) if file.suffix == ".safetensors" else _archive(file)
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{file.name} holds no weights by name; detector.weights takes a state dict as torchvision publishes them")
    return Pretrained(file, state)


def _file(path: Path) -> Path:
    found = [path] if path.is_file() else sorted(one for one in path.glob("*") if one.suffix in _SUFFIXES)
    if len(found) != 1:
        raise UserError(f"{path} must be or hold one file of weights ({', '.join(_SUFFIXES)}), but there are {len(found)}")
    if found[0].suffix not in _SUFFIXES:
        raise UserError(f"{found[0].name} is no file of weights that can be read; it must end in one of: {', '.join(_SUFFIXES)}")
    return found[0]


def _archive(file: Path) -> Mapping[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # a file from outside that is damaged, or made to harm, may fail in any way, and all of them mean the same
        raise UserError(f"{file.name} is damaged, or holds more than tensors") from error
    return found if isinstance(found, Mapping) and all(isinstance(name, str) for name in found) else {}


def _safetensors(file: Path) -> Mapping[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise UserError(f"{file.name} needs safetensors: pip install safetensors") from error
    try:
        found: Mapping[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file.name} is damaged") from error
    return found


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
