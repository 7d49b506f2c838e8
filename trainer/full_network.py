"""Monte-Carlo dropout through the whole network, for comparison: what a model finds, with the spread of so many full passes.

Rule: which boxes there are is the model's own answer, as everywhere; only the samples beside them differ.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from activelearning import layout
from activelearning.errors import BlobMissing, UserError
from activelearning.settings import Prediction
from trainer import detectors, letterbox
from trainer.detections import Detections
from trainer.detectors import full_dropout
from trainer.held_out import HeldOut
from trainer.letterbox import DetectorImage
from trainer.predictor import Predictor
from trainer.study import Study
from trainer.weights import Weights

_COMPACT = ("compact", "compact-seg")


def held_out(study: Study, rate: float, seed: int = 0) -> HeldOut:
    """The test split as the study has it, its spread from `mc_samples` passes that drop every layer's channels with probability `rate`.

    Raises `ValueError` for a rate that is none, `UserError` of a family whose passes are not read here, and where the model has no
    weights, as a program trained it.
    """
    settings = study.work.settings.prediction
    if study.family not in _COMPACT:
        raise UserError(f"--full-dropout is for {' and '.join(_COMPACT)}, and {study.run} is of family '{study.family}': do without it")
    model = _model(study)
    size = Predictor(study.onnx, study.family, settings).input_size
    images = (letterbox.read_image(study.work.store.images.read(name).content, size) for name in study.held_out.images)
    found = tuple(detect(model, study.family, image, settings, rate, seed) for image in images)
    return replace(study.held_out, found=found)


def detect(model: nn.Module, family: str, image: DetectorImage, settings: Prediction, rate: float, seed: int) -> Detections:
    """The detections of one letterboxed image, most confident first, in pixels of the original."""
    batch = torch.from_numpy(image.pixels.transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        plain = model(batch)
    # after batch norms: most of the network's rectifiers are functions, and a kept channel's sign does not change
    sampled = full_dropout.sample(model, (batch,), (nn.BatchNorm2d,), rate, settings.mc_samples, seed)
    samples = [_array(one.transpose(0, 1)) for one in sampled[:2]]
    # what tells of masks comes after what tells of boxes
    outputs = [*map(_array, plain[:3]), *samples, *map(_array, plain[3:])]
    found = detectors.family(family).decode(outputs, (batch.shape[3], batch.shape[2]), settings)[0]
    scale = image.letterbox.scale
    return found.moved(image.letterbox.to_image, image.size, (1 / scale[0], 1 / scale[1]))


def _array(output: Tensor) -> np.ndarray:
    return output.numpy()


def _model(study: Study) -> nn.Module:
    settings = study.work.settings
    try:
        weights = Weights.from_bytes(study.work.store.labels.read(layout.model(study.run, "weights.pt")).content)
    except BlobMissing:
        raise UserError(f"{study.run} has no weights.pt, as the program that trained it left none: do without --full-dropout") from None
    likelihood = settings.detector.box_likelihood
    model = detectors.build(study.family, len(settings.classes), 0, likelihood, architecture=weights.architecture)
    model.load_state_dict(weights.state)
    return model.eval()
