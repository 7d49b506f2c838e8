"""What a training program left behind, checked before anything is made of it.

Rule: a model counts only after it has found something, or nothing, in a real image by way of its family's decode. Whatever is wrong is one
plain sentence that names the file.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from activelearning.errors import UserError
from activelearning.settings import Settings
from trainer import detectors, letterbox
from trainer.detections import Detections
from trainer.predictor import INPUT, Predictor, open_session
from trainer.weights import Weights

ONNX, CARD, WEIGHTS = "model.onnx", "model.json", "weights.pt"


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """A model that fits: its file, its input (W, H), and its weights where there are any."""

    onnx: bytes
    input_size: tuple[int, int]
    weights: Weights | None


def read(folder: Path, settings: Settings, sample: Path) -> Output:
    """Check what lies in the folder; the model is tried on the image `sample`. Raises `UserError`."""
    _check_family(folder, settings)
    onnx = _content(folder / ONNX)
    size = _input_size(onnx, settings)
    _check_detections(_tried(onnx, settings, sample, size), len(settings.classes))
    return Output(onnx, size, _weights(folder / WEIGHTS, settings) if (folder / WEIGHTS).exists() else None)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"the training program left no {path.name} that can be read ({error.strerror})") from None


def _check_family(folder: Path, settings: Settings) -> None:
    wanted = f'{{"family": "{settings.detector.family}"}}'
    try:
        card = json.loads(_content(folder / CARD))
    except ValueError:
        raise UserError(f"{CARD} of the training program is not JSON: it must read {wanted}") from None
    family = card.get("family") if isinstance(card, dict) else None
    if family != settings.detector.family:
        raise UserError(
            f"{CARD} of the training program names the family {family!r}, and detector.family of project.toml is "
            f"'{settings.detector.family}': they must be the same"
        )


def _input_size(onnx: bytes, settings: Settings) -> tuple[int, int]:
    """The model's input (W, H), once its inputs and outputs are known to be the family's by name."""
    family = detectors.family(settings.detector.family)
    try:
        session = open_session(onnx, threads=1)
    except Exception as error:  # noqa: BLE001  onnxruntime has an exception for each fault that a file may have
        raise UserError(f"{ONNX} of the training program cannot be opened: {_first_line(error)}") from None
    shapes = {one.name: one.shape for one in session.get_inputs()}
    sides = [side for side in shapes.get(INPUT, ())[2:] if isinstance(side, int) and side > 0 and side % letterbox.STRIDE == 0]
    if len(shapes.get(INPUT, ())) != 4 or len(sides) != 2:
        raise UserError(
            f"{ONNX} of the training program must have an input '{INPUT}' (batch, 3, height, width), height and width fixed and in steps "
            f"of {letterbox.STRIDE}; its inputs are {shapes}"
        )
    names = tuple(one.name for one in session.get_outputs())
    if not names or names != family.outputs[: len(names)]:
        raise UserError(
            f"{ONNX} of the training program has the outputs {', '.join(names)}, but those of family '{family.name}' are "
            f"{', '.join(family.outputs)}"
        )
    return sides[1], sides[0]


def _tried(onnx: bytes, settings: Settings, sample: Path, size: tuple[int, int]) -> Detections:
    # weak detections too: they are what shows whether decode fits
    prediction = replace(settings.prediction, min_confidence=0.0)
    image = letterbox.read_image(sample, size)
    try:
        return Predictor(onnx, settings.detector.family, prediction, threads=1).detect(image)
    except Exception as error:  # noqa: BLE001  whatever a foreign model makes of onnxruntime or of decode
        family = settings.detector.family
        raise UserError(f"{ONNX} of the training program cannot be run as family '{family}': {_first_line(error)}") from None


def _check_detections(found: Detections, classes: int) -> None:
    if found.class_scores.shape[1] != classes:
        raise UserError(f"{ONNX} of the training program tells {found.class_scores.shape[1]} classes apart, but the project has {classes}")
    if not (np.isfinite(found.xyxy).all() and np.isfinite(found.class_scores).all()):
        raise UserError(f"{ONNX} of the training program finds boxes or scores that are no numbers")


def _weights(path: Path, settings: Settings) -> Weights:
    advice = f"{WEIGHTS} of the training program"
    try:
        found = Weights.from_bytes(_content(path))
    except UserError:
        raise UserError(f"{advice} is no file as trainer.weights makes it: leave it out, or write Weights(…).to_bytes()") from None
    if (found.family, found.classes) != (settings.detector.family, settings.classes):
        raise UserError(f"{advice} is of family '{found.family}' and the classes {', '.join(found.classes)}, not those of the project")
    likelihood = settings.detector.box_likelihood
    try:
        detectors.build(found.family, len(found.classes), 0, likelihood, architecture=found.architecture).load_state_dict(found.state)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{advice} does not fit the network of family '{found.family}': {_first_line(error)}") from None
    return found


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
