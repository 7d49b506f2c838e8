"""Models that are shown images in tiles or mirrored besides, and many at a time: on drawn scenes, through the predictor."""

import io
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest
from PIL import Image

from activelearning.errors import SettingsError, UserError
from activelearning.labels import ImageLabels, box_from_pixels
from activelearning.settings import Detector, Prediction, Settings
from activelearning.store import open_store
from tests.trainer import scenes
from trainer import dataset, ground_truth, letterbox, view
from trainer.detections import Detections
from trainer.evaluation import evaluate
from trainer.ground_truth import GroundTruth
from trainer.predictor import Failed, Predicted, Predictor
from trainer.view import View

SETTINGS = Prediction(min_confidence=0.3, mc_samples=2)
WIDTH, HEIGHT = scenes.SIZE
GAP = 30


def predictor(shown: View, batch: int = 0) -> Predictor:
    return Predictor(view.noted(scenes.onnx(), shown), "compact", SETTINGS, threads=2, batch=batch)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@cache
def mosaic() -> tuple[np.ndarray, GroundTruth]:
    """Six scenes in two rows, grey between them, and what is in them."""
    pixels = np.full((2 * HEIGHT + GAP, 3 * WIDTH + 2 * GAP, 3), 115, np.uint8)
    boxes, labels = [], []
    for number, one in enumerate(scenes.scenes(8)[:6]):
        left, top = number % 3 * (WIDTH + GAP), number // 3 * (HEIGHT + GAP)
        pixels[top : top + HEIGHT, left : left + WIDTH] = one.pixels
        boxes.append(one.boxes + np.array([left, top, left, top], np.float32))
        labels.append(one.labels)
    return pixels, GroundTruth(np.concatenate(boxes), np.concatenate(labels))


def ap50(truth: Sequence[GroundTruth], found: Sequence[Detections]) -> float:
    value = evaluate(truth, found, scenes.CLASSES).value("ap50")
    assert value is not None
    return value


def test_objects_of_a_large_image_are_found_in_its_tiles_each_once() -> None:
    pixels, truth = mosaic()
    [tiled] = predictor(View(tile=WIDTH, overlap=0.4)).predict([("mosaic.png", png(pixels))])
    [whole] = predictor(View()).predict([("mosaic.png", png(pixels))])
    assert isinstance(tiled, Predicted) and isinstance(whole, Predicted)
    assert tiled.size == whole.size == (3 * WIDTH + 2 * GAP, 2 * HEIGHT + GAP)
    assert ap50([truth], [tiled.detections]) > 0.9 > ap50([truth], [whole.detections])
    sure = tiled.detections[tiled.detections.confidence > 0.5]
    assert len(sure) == len(truth.class_id)
    assert tiled.embedding is not None and whole.embedding is not None and tiled.embedding.shape == whole.embedding.shape
    assert tiled.facts is not None and whole.facts is not None and tiled.facts.phash == whole.facts.phash


def test_an_object_on_the_border_of_two_tiles_is_found_once() -> None:
    """Tiles of 128 of an image of 205 begin at 0 and 77; the first ends at 128, in the middle of the bar."""
    pixels = np.full((HEIGHT, 205, 3), 115, np.uint8)
    bar = np.array([[95, 40, 135, 56]], np.float32)
    pixels[40:56, 95:135] = (40, 80, 220)
    [found] = predictor(View(tile=WIDTH, overlap=0.2)).predict([("bar.png", png(pixels))])
    assert isinstance(found, Predicted)
    bars = found.detections[(found.detections.class_id == 1) & (found.detections.confidence > 0.3)]
    assert len(bars) == 1
    assert ap50([GroundTruth(bar, np.array([1]))], [bars]) == 1


@pytest.mark.parametrize("shown", [View(), View(tile=WIDTH), View(flips="both")], ids=str)
def test_many_at_a_time_are_predicted_as_one_by_one(shown: View) -> None:
    files = [(f"{number}.png", png(one.pixels)) for number, one in enumerate(scenes.scenes())]
    files[3:3] = [("broken.png", b"no image"), ("mosaic.png", png(mosaic()[0]))]
    alone, together = (list(predictor(shown, batch).predict(files)) for batch in (1, 4))
    for one, other in zip(alone, together, strict=True):
        assert one.name == other.name and type(one) is type(other)
        if isinstance(one, Predicted) and isinstance(other, Predicted):
            assert np.allclose(one.detections.xyxy, other.detections.xyxy, atol=0.01)
            assert np.allclose(one.detections.confidence, other.detections.confidence, atol=1e-4)
            assert one.detections.spread is not None and other.detections.spread is not None
            assert np.allclose(one.detections.spread.total, other.detections.spread.total, atol=0.01)
    assert isinstance(alone[3], Failed)


def test_batches_are_read_no_further_ahead_than_needed() -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, bytes]]:
        nonlocal taken
        while True:
            taken += 1
            yield "scene", png(scenes.scenes()[0].pixels)

    running = predictor(View(), 4).predict(endless())
    for _ in range(9):
        next(running)
    assert taken <= 9 + 4 * 4
    running.close()


@pytest.mark.parametrize("flips", ["horizontal", "vertical", "both"])
def test_mirror_images_besides_find_the_objects_where_they_are(flips: str) -> None:
    truth = [GroundTruth(one.boxes, one.labels) for one in scenes.scenes()]
    found = [predictor(View(flips=flips)).find(one.pixels) for one in scenes.scenes()]
    assert ap50(truth, found) > 0.9
    assert all(one.spread is not None and one.features is not None for one in found)


def test_what_is_told_of_an_image_can_be_asked_of_its_pixels() -> None:
    for shown in (View(), View(tile=WIDTH)):
        looking = predictor(shown)
        [by_file] = looking.predict([("mosaic.png", png(mosaic()[0]))])
        assert isinstance(by_file, Predicted)
        assert np.allclose(looking.find(mosaic()[0]).xyxy, by_file.detections.xyxy, atol=0.01)


def test_the_model_says_itself_how_it_is_shown_images() -> None:
    detector, prediction = Detector(tile=640, tile_overlap=0.3), Prediction(augmented="vertical")
    shown = view.of_settings(detector, prediction)
    assert Predictor(view.noted(scenes.onnx(), shown), "compact", SETTINGS).view == shown == View(640, 0.3, "vertical")
    assert view.noted(scenes.onnx(), view.of_settings(Detector(), Prediction())) == scenes.onnx()


def test_a_note_that_makes_no_sense_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = view.noted(scenes.onnx(), View(tile=77)).replace(b'"tile": 77', b'"tile": -7')
    with pytest.raises(UserError, match="note of how it sees images is damaged"):
        Predictor(model, "compact", SETTINGS)


def test_tiles_and_masks_do_not_go_together() -> None:
    with pytest.raises(SettingsError, match="tiles are for boxes only"):
        Settings(("a",), task="masks", detector=Detector(tile=640))


def test_a_tile_is_an_example_with_what_can_be_seen_of_the_objects() -> None:
    """The image of 200 × 96 has tiles of 128 from 0 and from 72; of the box of 100 to 140 the first shows 28 of 40 columns, of the box of
    120 to 170 8 of 50, which is too little."""
    pixels = np.full((HEIGHT, 200, 3), 115, np.uint8)
    corners = [(100, 10, 140, 30), (120, 50, 170, 70), (0, 60, 20, 80)]
    blobs = open_store("memory:").images
    blobs.create("a.png", png(pixels))
    labels = ImageLabels("a.png", 200, HEIGHT, tuple(box_from_pixels("square", corner, 200, HEIGHT) for corner in corners))
    data = dataset.load(blobs, [labels], scenes.CLASSES, scenes.SIZE, shown=View(tile=WIDTH, overlap=0.2))
    assert [one.boxes.tolist() for one in data.examples] == [
        pytest.approx(np.array([[100, 10, 128, 30], [0, 60, 20, 80]]), abs=1e-3),
        pytest.approx(np.array([[28, 10, 68, 30], [48, 50, 98, 70]]), abs=1e-3),
    ]
    assert data.problems == ()


def test_a_box_without_area_is_in_no_tile() -> None:
    truth = GroundTruth(np.array([[10, 10, 10, 20]], np.float32), np.array([0]))
    assert len(ground_truth.inside(truth, np.array([0, 0, 50, 50])).class_id) == 0


@pytest.mark.parametrize(("size", "into", "decoded"), [((640, 480), (320, 256), (320, 240)), ((600, 480), (320, 256), (600, 480))])
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(size: tuple[int, int], into: tuple[int, int], decoded: tuple[int, int]) -> None:
    out = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(out, "JPEG")
    pixels, full = letterbox.decode_image(out.getvalue(), into)
    assert (pixels.shape[1::-1], full) == (decoded, size)


def test_tiles_of_a_jpeg_are_decoded_at_the_scale_at_which_they_are_seen() -> None:
    out = io.BytesIO()
    Image.new("RGB", (800, 600)).save(out, "JPEG")
    assert letterbox.decode_scaled(out.getvalue(), 0.25)[0].shape == (150, 200, 3)
    assert letterbox.decode_scaled(out.getvalue(), 0.3)[0].shape == (300, 400, 3)
