import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.test_report_facts import facts, painted
from trainer.ground_truth import GroundTruth
from trainer.judged import judge
from trainer.report import EvaluatedImage, Facts, canvas, gallery, section_gallery

GREY = (120, 120, 120)


def _one(size: tuple[int, int], name: str = "one.jpg") -> EvaluatedImage:
    return EvaluatedImage(name, size, GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))


def _drawn(boxes: list[gallery.Drawn], spread: np.ndarray | None = None) -> np.ndarray:
    content = gallery.draw(Image.new("RGB", (200, 160), GREY), boxes, spread)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def _near(pixel: np.ndarray, colour: str, share: float = 1.0) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) * share + np.array(GREY) * (1 - share)
    return bool(np.abs(pixel - wanted).max() < 40)


def test_a_box_is_drawn_on_its_edges_and_nowhere_else():
    pixels = _drawn([(np.array([40.0, 50, 140, 120]), gallery.CORRECT, "")])
    for row, column in ((50, 90), (120, 90), (85, 40), (85, 140)):
        assert _near(pixels[row, column], gallery.CORRECT)
    for row, column in ((85, 90), (20, 90), (140, 90), (85, 20), (85, 170)):
        assert np.abs(pixels[row, column] - GREY).max() < 10


@pytest.mark.parametrize("colour", [gallery.FALSE, gallery.MISSED])
def test_other_kinds_of_boxes_have_gaps_in_their_lines(colour: str):
    lines = [_drawn([(np.array([20.0, 50, 180, 120]), one, "")])[50, 24:176] for one in (colour, gallery.CORRECT)]
    broken, whole = ((np.abs(line - GREY).max(1) < 45).sum() for line in lines)
    assert broken > 20 and whole == 0


def test_a_band_is_as_wide_as_the_spread_of_each_side():
    box, spread = np.array([60.0, 50, 140, 110]), np.array([[20.0, 5, 8, 0]])
    pixels = _drawn([(box, gallery.CORRECT, "")], spread)
    tinted = np.abs(pixels[80] - GREY).max(1) > 20
    left, right = np.flatnonzero(tinted[:100]), np.flatnonzero(tinted[100:]) + 100
    assert (left.min(), left.max()) == (pytest.approx(40, abs=2), pytest.approx(80, abs=2))
    assert (right.min(), right.max()) == (pytest.approx(132, abs=2), pytest.approx(148, abs=2))


def test_a_label_stays_inside_the_image():
    pixels = _drawn([(np.array([190.0, 2, 199, 20]), gallery.FALSE, "a long name 0.97")])
    assert _near(pixels[3, 95:198].mean(0), gallery.FALSE)
    assert np.abs(pixels[60, :] - GREY).max() < 10


@pytest.mark.parametrize("size", [(4000, 3000), (300, 4000), (640, 480), (100, 80), (3, 9000)])
def test_a_thumbnail_keeps_its_shape_and_never_grows(size: tuple[int, int]):
    thumbnail = gallery.load(lambda name: Image.new("RGB", size), _one(size))
    assert thumbnail is not None and max(thumbnail.size) <= min(480, max(size))
    scale = max(thumbnail.size) / max(size)
    assert all(abs(a - max(1, b * scale)) <= 1 for a, b in zip(thumbnail.size, size, strict=True))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_images_of_every_mode_are_shown(mode: str):
    assert gallery.load(lambda name: Image.new(mode, (40, 30)), _one((40, 30))) is not None


def test_an_image_on_its_side_is_turned_upright(tmp_path: Path):
    stored = Image.new("RGB", (60, 40), "red")
    stored.paste("blue", (0, 0, 30, 40))
    tag = Image.Exif()
    tag[0x0112] = 6
    stored.save(tmp_path / "turned.png", exif=tag)
    shown = gallery.load(lambda name: Image.open(tmp_path / name), _one((40, 60), "turned.png"))
    assert shown is not None and shown.size == (40, 60)
    assert [shown.getpixel((20, row)) for row in (5, 55)] == [(0, 0, 255), (255, 0, 0)]


def test_half_a_file_is_an_image_that_cannot_be_read(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    half = (tmp_path / "whole.jpg").read_bytes()
    half = half[: len(half) // 2]
    assert gallery.load(lambda name: Image.open(io.BytesIO(half)), _one((300, 200))) is None
    assert gallery.load(lambda name: None, _one((300, 200))) is None


def _cards(html: str) -> list[str]:
    return re.findall(r'<figure class="card">.*?</figure>', html)


def test_the_worst_and_the_best_stand_in_their_order_and_none_twice():
    known = facts(images=25)
    with canvas.style():
        cards = _cards(section_gallery.section(known).html())
    figures = [[float(found) for found in re.findall(r'value="([\d.]+)" data-figure="image\.\d+\.f1"', card)] for card in cards]
    assert [len(found) for found in figures] == [1] * 20
    worst, best = [found[0] for found in figures[:10]], [found[0] for found in figures[10:]]
    assert worst == sorted(worst) and best == sorted(best, reverse=True) and worst[-1] <= best[-1]
    assert len({re.findall(r'alt="cam-1/(\d+)', card)[0] for card in cards}) == 20


def test_one_image_that_cannot_be_read_does_not_hide_the_others():
    known = facts()
    unread = known.images[2].name
    with canvas.style():
        cards = _cards(section_gallery.section(replace(known, image=lambda name: None if name == unread else known.image(name))).html())
    said = ["could not be read" in card for card in cards]
    assert sum(said) == 1 and "02.jpg" in cards[said.index(True)]


def _enlarged(known: Facts, factor: int) -> Facts:
    """The same image and detections with so many times as many pixels a side."""
    one, found = known.images[0], known.judged.detections
    size = (one.size[0] * factor, one.size[1] * factor)
    image = EvaluatedImage(one.name, size, GroundTruth(one.truth.xyxy * np.float32(factor), one.truth.class_id))
    spread = found.spread.scaled(np.full(4, factor))
    judged = judge([replace(found, xyxy=found.xyxy * np.float32(factor), spread=spread)], [image.truth], len(known.classes))
    return replace(known, images=[image], judged=judged, image=painted([image]), std=None)


def _card_pixels(known: Facts) -> np.ndarray:
    with canvas.style():
        html = section_gallery.section(known).html()
    content = base64.b64decode(re.findall(r'data:image/jpeg;base64,([^"]+)"', html)[0])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_a_card_looks_the_same_whatever_the_number_of_pixels():
    known = facts(images=1, seed=8)
    small, large = (_card_pixels(_enlarged(known, factor)) for factor in (4, 40))
    assert small.shape == large.shape == (360, 480, 3)
    assert np.abs(small - large).mean() < 0.5


@pytest.mark.parametrize("factor", [1, 10])
def test_the_boxes_of_a_card_lie_where_the_detections_are(factor: int):
    known = _enlarged(facts(images=1, seed=8), factor)
    pixels = _card_pixels(known)
    scale = pixels.shape[1] / known.images[0].size[0]
    assert scale == (1 if factor == 1 else 480 / 1200)
    right = known.judged.correct() & (known.judged.detections.confidence >= known.shown_from)
    assert right.any()
    for xmin, ymin, xmax, ymax in known.judged.detections.xyxy[right] * scale:
        sides = [pixels[int((ymin + ymax) / 2), round(float(x))] for x in (xmin, xmax) if 0 <= x < pixels.shape[1] - 1]
        assert all(np.abs(side - (120, 140, 160)).max() > 30 for side in sides)
