"""Networks of the library `transformers`: from scratch, from a folder of published weights, or as there was one before.

Rule: what a folder gives is taken whole or not at all: only the layers that depend on the classes may be fresh, whatever classes it had.
Nothing is fetched, and no pickle is read.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from activelearning.errors import UserError
from trainer.detectors import Blueprint
from trainer.detectors.queries import Colours

# not by name: the types of so large a library take a minute to check
library: Any = import_module("transformers")

Settings = Mapping[str, Any]

_CONFIG, _WEIGHTS, _SHARDS, _PIXELS = "config.json", "model.safetensors", "model.safetensors.index.json", "preprocessor_config.json"
_ADVICE = "set detector.weights to one of the family's own, or to 'scratch'"
_BAD_FILE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError),
    import_module("safetensors").SafetensorError,
    import_module("huggingface_hub.errors").StrictDataclassError,
)
"""What the library raises of a folder that it cannot make sense of."""


@dataclass(frozen=True, slots=True)
class Make:
    """How a family's networks are called: by `transformers` (`config`, `network`), in config.json (`model_type`), and by people (`name`);
    the names of their layers that depend on the classes, in the network; and what of a folder's configuration is not taken over."""

    name: str
    model_type: str
    config: str
    network: str
    class_layers: tuple[str, ...]
    instead: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A network, and what its pixels should look like where its folder says it."""

    network: Any
    colours: Colours | None = None


def make(make: Make, settings: Settings, blueprint: Blueprint, width: int) -> Made:
    """A network for the blueprint's classes; `settings` are those of the configuration for one from scratch.

    Raises `UserError` of pretrained weights that are none of this make, or not complete, or whose queries are not `width` channels wide.
    """
    with quiet():
        if blueprint.architecture:
            return Made(_network(make, _config(make, json.loads(blueprint.architecture), blueprint.classes)))
        if blueprint.pretrained:
            return _pretrained(make, blueprint.pretrained, blueprint.classes, width)
        return Made(_network(make, _config(make, settings, blueprint.classes)))


def part(name: str) -> Any:
    """A module of the library, which is loaded only now."""
    return import_module(f"transformers.{name}")


def architecture(network: Any) -> str:
    """The network's configuration without its classes, as JSON: what `make` builds it from again."""
    settings = {name: value for name, value in network.config.to_dict().items() if name not in ("id2label", "label2id", "num_labels")}
    return json.dumps(settings, sort_keys=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Within, the library says nothing but errors, and shows no progress: what matters of it is checked here."""
    logging = library.utils.logging
    level, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if progress:
            logging.enable_progress_bar()


def _config(make: Make, settings: Settings, classes: int) -> Any:
    config = getattr(library, make.config).from_dict(dict(settings))
    config.num_labels = classes
    return config


def _network(make: Make, config: Any) -> Any:
    return getattr(library, make.network)(config)


def _pretrained(make: Make, folder: Path, classes: int, width: int) -> Made:
    _check_folder(make, folder)
    try:
        network, told = getattr(library, make.network).from_pretrained(
            folder,
            num_labels=classes,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            **make.instead,
        )
    except _BAD_FILE as error:
        raise UserError(f"the weights in '{folder}' cannot be read: {_first_line(error)}; {_ADVICE}") from error
    _check_complete(make, folder, told)
    if network.config.d_model != width:
        raise UserError(f"the weights in '{folder}' are of another size: {network.config.d_model} channels a query, not {width}; {_ADVICE}")
    # also where there are as many classes as there were: they are others
    _renew(network, _network(make, network.config), make.class_layers)
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise UserError(f"some of the weights in '{folder}' are no numbers; {_ADVICE}")
    return Made(network, _colours(folder))


def _check_folder(make: Make, folder: Path) -> None:
    if not (folder / _CONFIG).is_file():
        raise UserError(f"'{folder}' is no folder of pretrained weights, for it holds no {_CONFIG}; {_ADVICE}")
    found = _json(folder / _CONFIG).get("model_type")
    if found != make.model_type:
        raise UserError(f"the weights in '{folder}' are of '{found}', and {make.name} needs '{make.model_type}'; {_ADVICE}")
    if not any((folder / name).is_file() for name in (_WEIGHTS, _SHARDS)):
        raise UserError(f"'{folder}' holds no {_WEIGHTS}, the only format of weights that is read; {_ADVICE}")


def _check_complete(make: Make, folder: Path, told: Mapping[str, Any]) -> None:
    """Against what the library says it did not find, or found of another size."""
    lacking = sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])})
    lacking = [name for name in lacking if not name.startswith(tuple(f"{layer}." for layer in make.class_layers))]
    if lacking:
        raise UserError(
            f"the weights in '{folder}' are not those of {make.name}: {len(lacking)} are missing, such as {lacking[0]}; {_ADVICE}"
        )


def _renew(network: nn.Module, fresh: nn.Module, layers: Sequence[str]) -> None:
    for name in layers:
        network.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())


def _colours(folder: Path) -> Colours | None:
    """What the folder says of pixels 0..255; None where it says nothing."""
    if not (folder / _PIXELS).is_file():
        return None
    said = _json(folder / _PIXELS)
    try:
        scale = 1 / float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
        mean, std = (said["image_mean"], said["image_std"]) if said.get("do_normalize") else ((0.0,) * 3, (1.0,) * 3)
        colours = Colours(*(tuple(scale * float(value) for value in values) for values in (mean, std)))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(_unclear(folder)) from error
    if not (
        len(colours.mean) == len(colours.std) == 3 and all(map(math.isfinite, colours.mean)) and all(0 < one < 1e6 for one in colours.std)
    ):
        raise UserError(_unclear(folder))
    return colours


def _unclear(folder: Path) -> str:
    return f"'{folder / _PIXELS}' does not say how pixels are to be normalised; {_ADVICE}"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read as JSON; {_ADVICE}") from error
    if not isinstance(found, dict):
        raise UserError(f"'{path}' is not a JSON object; {_ADVICE}")
    return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
