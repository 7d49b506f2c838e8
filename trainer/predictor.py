"""Prediction with onnxruntime: image files in, detections in pixels of the original images out.

Rule: one damaged file never stops a run, it is reported with its reason; and however many images there are, only a few are in
memory.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from activelearning.errors import BlobMissing, UserError
from activelearning.settings import Prediction
from trainer import consistency, image_facts
from trainer.detections import Detections
from trainer.detectors import EMBEDDING, family
from trainer.image_facts import ImageFacts
from trainer.letterbox import DetectorImage, read_image
from trainer.monte_carlo import draw_masks

INPUT = "images"
"""Name of the exported model's input."""

Source = bytes | Path | Callable[[], bytes]
"""An encoded image, where it lies, or how to get it; asked for in a worker thread, shortly before it is needed."""

_AHEAD_PER_THREAD = 4


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What was found in an image, in pixels of its upright size (w, h).

    `embedding` (D,) float32 is what the image as a whole looks like to the model; None where the model does not tell, or nobody asked.
    """

    name: str
    detections: Detections
    size: tuple[int, int]
    embedding: np.ndarray | None = None
    facts: ImageFacts | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that cannot be predicted, and one sentence that says why."""

    name: str
    reason: str


def open_session(onnx: bytes | Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """An inference session on CUDA where onnxruntime has it, else on the CPU with so many threads (0: one a core)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    return onnxruntime.InferenceSession(onnx if isinstance(onnx, bytes) else str(onnx), options, providers=providers)


class Predictor:
    """An exported model, ready to predict.

    Each thread takes one image all the way - read, decode, infer, suppress - on one core, which is faster than several cores
    at one image. `threads` 0: as many as there are cores. `mirror`: look at the mirror image too, and say how consistent each box is.
    """

    def __init__(self, onnx: bytes | Path, family_name: str, settings: Prediction, *, threads: int = 0, mirror: bool = False) -> None:
        self.threads = threads or _cores()
        self.settings = settings
        self._family = family(family_name)
        self._session = open_session(onnx, threads=1)
        _, _, height, width = self._session.get_inputs()[0].shape
        # a model that was exported before there were masks takes none
        taken = {one.name for one in self._session.get_inputs()}
        masks = draw_masks(self._family.masks, settings.mc_samples, self._family.dropout)
        self.masks: dict[str, np.ndarray] = {name: mask for name, mask in masks.items() if name in taken}
        self._plain_masks = {name: np.ones_like(mask[:1]) for name, mask in self.masks.items()}
        self._mirror = mirror
        names = [one.name for one in self._session.get_outputs()]
        self._embedding = names.index(EMBEDDING) if EMBEDDING in names else None
        self.input_size: tuple[int, int] = (width, height)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that onnxruntime uses, the preferred one first."""
        return tuple(self._session.get_providers())

    def predict(self, images: Iterable[tuple[str, Source]]) -> Iterator[Predicted | Failed]:
        """Predict named images, lazily and in their order; a few are read ahead while the caller is busy."""
        running: deque[Future[Predicted | Failed]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            try:
                for name, source in images:
                    running.append(pool.submit(self._predict_file, name, source))
                    if len(running) > _AHEAD_PER_THREAD * self.threads:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                # a caller who stops early does not wait for what was read ahead
                for future in running:
                    future.cancel()

    def detect(self, image: DetectorImage) -> Detections:
        """The detections of one letterboxed image, most confident first, in pixels of the original."""
        return self._look(image)[0]

    def _look(self, image: DetectorImage) -> tuple[Detections, np.ndarray | None]:
        outputs = self._run(image.pixels, self.masks)
        found = self._decoded(outputs)
        if self._mirror:
            again = consistency.mirrored(self._decoded(self._run(image.pixels[:, ::-1], self._plain_masks)), self.input_size[0])
            found = replace(found, consistency=consistency.consistency(found, again))
        scale = image.letterbox.scale
        moved = found.moved(image.letterbox.to_image(found.xyxy), image.size, (1 / scale[0], 1 / scale[1]))
        return moved, None if self._embedding is None else outputs[self._embedding][0]

    def _run(self, pixels: np.ndarray, masks: dict[str, np.ndarray]) -> list[np.ndarray]:
        batch = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        outputs: list[np.ndarray] = self._session.run(None, {INPUT: batch} | masks)
        return outputs

    def _decoded(self, outputs: list[np.ndarray]) -> Detections:
        return self._family.decode(outputs, self.input_size, self.settings)[0]

    def _predict_file(self, name: str, source: Source) -> Predicted | Failed:
        try:
            content = source() if callable(source) else source
            image = read_image(content, self.input_size)
        except (UserError, BlobMissing) as error:
            return Failed(name, str(error))
        found, embedding = self._look(image)
        return Predicted(name, found, image.size, embedding, image_facts.of_image(image, content))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
