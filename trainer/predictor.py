"""Prediction with onnxruntime: image files in, detections in pixels of the original images out.

Rule: one damaged file never stops a run, it is reported with its reason; and however many images there are, only a few are in
memory. An image is shown to a model as the model's own file says (`trainer.view`).

On a processor each thread takes one image all the way - read, decode, infer, suppress - on one core, which is faster than several cores
at one image. On a GPU threads decode ahead of it, it looks at many images together, and whoever asked writes behind it.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from activelearning.errors import BlobMissing, UserError
from activelearning.settings import Prediction
from trainer import consistency, engine, image_facts, letterbox, looks, tile_merging, view
from trainer.detections import Detections
from trainer.detectors import EMBEDDING, family
from trainer.engine import GPU_BATCH, Engine
from trainer.engine import open_session as open_session
from trainer.image_facts import ImageFacts
from trainer.letterbox import DetectorImage
from trainer.monte_carlo import draw_masks

INPUT = "images"
"""Name of the exported model's input."""

Source = bytes | Path | Callable[[], bytes]
"""An encoded image, where it lies, or how to get it; asked for in a worker thread, shortly before it is needed."""

_AHEAD_PER_THREAD = 4
_BATCHES_AHEAD = 2
"""One that the GPU looks at, one that is decoded, beside the one that the caller has."""


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What was found in an image, in pixels of its upright size (w, h); masks are run lengths by then.

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


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """What a model is shown of an image: `crops`, the `tiles` (T, 4) of the image that they are, its upright `size` (w, h)."""

    crops: tuple[DetectorImage, ...]
    tiles: np.ndarray
    size: tuple[int, int]
    name: str = ""
    facts: ImageFacts | None = None


_Look = tuple[Detections, np.ndarray | None]
"""What was found, and what the image looks like."""


class Predictor:
    """An exported model, ready to predict.

    `threads` 0: as many as there are cores. `mirror`: look at the mirror image too, and say how consistent each box is. `batch`: images
    that the network looks at together; 0: one on a processor, `GPU_BATCH` on a GPU.
    """

    def __init__(
        self, onnx: bytes | Path, family_name: str, settings: Prediction, *, threads: int = 0, mirror: bool = False, batch: int = 0
    ) -> None:
        self.threads = threads or _cores()
        self.settings = settings
        self._family = family(family_name)
        self._session = open_session(onnx, threads=1)
        self.engine: Engine = engine.of_session(self._session)
        self.view = view.of_session(self._session)
        self._batch = batch or (GPU_BATCH if self.engine.on_gpu else 1)
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
        return self._predict_each(images) if self._batch == 1 else self._predict_batches(images)

    def find(self, pixels: np.ndarray) -> Detections:
        """The detections in an image (h, w, 3) uint8 RGB, upright and at full size, most confident first, in its pixels."""
        size = (pixels.shape[1], pixels.shape[0])
        crops = view.of_pixels(pixels, size, self.input_size, self.view)
        [(found, _)] = self._look([_Shown(crops, view.tiles(size, self.input_size, self.view), size)])
        return found

    def detect(self, image: DetectorImage) -> Detections:
        """The detections of one letterboxed image, most confident first, in pixels of the original; of a model that wants tiles too."""
        return self._found([image])[0][0]

    def inputs(self, image: DetectorImage) -> dict[str, np.ndarray]:
        """What the network is given for one letterboxed image, by the name of its input."""
        return {INPUT: _batched([image.pixels])} | self.masks

    def _predict_each(self, images: Iterable[tuple[str, Source]]) -> Iterator[Predicted | Failed]:
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

    def _predict_file(self, name: str, source: Source) -> Predicted | Failed:
        return self._predicted([self._read(name, source)])[0]

    def _predict_batches(self, images: Iterable[tuple[str, Source]]) -> Iterator[Predicted | Failed]:
        coming, running = iter(images), deque[Future[list[Predicted | Failed]]]()
        # two of the latter: one makes detections of the network's numbers while the other has the GPU
        with ThreadPoolExecutor(self.threads) as readers, ThreadPoolExecutor(_BATCHES_AHEAD) as lookers:
            try:
                while some := list(islice(coming, self._batch)):
                    reading = [readers.submit(self._read, name, source) for name, source in some]
                    running.append(lookers.submit(lambda reading: self._predicted([one.result() for one in reading]), reading))
                    if len(running) > _BATCHES_AHEAD:
                        yield from running.popleft().result()
                while running:
                    yield from running.popleft().result()
            finally:
                for future in running:
                    future.cancel()

    def _read(self, name: str, source: Source) -> _Shown | Failed:
        try:
            content = source() if callable(source) else source
            crops, tiles, size = view.crops(content, self.input_size, self.view)
            whole = crops[0] if not self.view.tile else letterbox.read_image(content, self.input_size)
        except (UserError, BlobMissing) as error:
            return Failed(name, str(error))
        return _Shown(crops, tiles, size, name, image_facts.of_image(whole, content))

    def _predicted(self, read: Sequence[_Shown | Failed]) -> list[Predicted | Failed]:
        seen = iter(self._look([one for one in read if isinstance(one, _Shown)]))
        return [one if isinstance(one, Failed) else _told(one, *next(seen)) for one in read]

    def _look(self, shown: Sequence[_Shown]) -> list[_Look]:
        """What is in some images: each crop's answer, then one answer of an image's crops."""
        found = iter(self._found([crop for one in shown for crop in one.crops]))
        return [self._merged(one, list(islice(found, len(one.crops)))) for one in shown]

    def _merged(self, shown: _Shown, crops: Sequence[_Look]) -> _Look:
        if not self.view.tile:
            return crops[0]
        placed = [_placed(found, tile, shown.size) for (found, _), tile in zip(crops, shown.tiles, strict=True)]
        embeddings = [embedding for _, embedding in crops if embedding is not None]
        return tile_merging.merged(placed, shown.tiles, shown.size, self.settings.nms_iou), np.mean(embeddings, 0) if embeddings else None

    def _found(self, crops: Sequence[DetectorImage]) -> list[_Look]:
        """What is in some crops, in pixels of each crop's image; the network looks at as many at a time as it is meant to."""
        axes = self.view.axes
        outputs = self._outputs([np.flip(crop.pixels, reversed_) for crop in crops for reversed_ in axes], self.masks)
        mirrored = self._outputs([crop.pixels[:, ::-1] for crop in crops], self._plain_masks) if self._mirror else iter(())
        return [self._one(crop, list(islice(outputs, len(axes))), mirrored) for crop in crops]

    def _one(self, crop: DetectorImage, seen: Sequence[list[np.ndarray]], mirrored: Iterator[list[np.ndarray]]) -> _Look:
        each = (looks.flipped(self._decoded(one), axes, self.input_size) for one, axes in zip(seen, self.view.axes, strict=True))
        found = looks.fused(list(each), self.settings.max_detections)
        if self._mirror:
            again = consistency.mirrored(self._decoded(next(mirrored)), self.input_size[0])
            found = replace(found, consistency=consistency.consistency(found, again))
        scale = crop.letterbox.scale
        moved = found.moved(crop.letterbox.to_image, crop.size, (1 / scale[0], 1 / scale[1]))
        return moved, None if self._embedding is None else seen[0][self._embedding][0]

    def _outputs(self, pixels: Sequence[np.ndarray], masks: dict[str, np.ndarray]) -> Iterator[list[np.ndarray]]:
        """The network's outputs for each of some inputs (H, W, 3), in order, each with a batch axis of 1."""
        for start in range(0, len(pixels), self._batch):
            some = pixels[start : start + self._batch]
            # a GPU prepares itself anew for every other size of the batch, so the last one is filled up
            filled = [*some, *(some[0] for _ in range(self._batch - len(some)))]
            outputs = self._session.run(None, {INPUT: _batched(filled)} | masks)
            yield from ([output[row : row + 1] for output in outputs] for row in range(len(some)))

    def _decoded(self, outputs: Sequence[np.ndarray]) -> Detections:
        return self._family.decode(outputs, self.input_size, self.settings)[0]


def _told(shown: _Shown, found: Detections, embedding: np.ndarray | None) -> Predicted:
    return Predicted(shown.name, found.with_rle(shown.size), shown.size, embedding, shown.facts)


def _batched(pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Inputs (H, W, 3) uint8 as the network takes them, (B, 3, H, W) float32."""
    batch = np.empty((len(pixels), 3, *pixels[0].shape[:2]), np.float32)
    for row, one in enumerate(pixels):
        batch[row] = one.transpose(2, 0, 1)
    return batch


def _placed(found: Detections, tile: np.ndarray, size: tuple[int, int]) -> Detections:
    """What was found in a tile, in pixels of the image of `size` (w, h)."""
    offset = np.tile(tile[:2], 2).astype(np.float32)
    return found.moved(lambda corners: corners + offset, size)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
