"""Masks on their way into training: from labels to the detector's input, and moved with their boxes."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from activelearning.labels import Box, ImageLabels, Polygons
from activelearning.settings import Training
from activelearning.store import open_store
from tests.trainer import shapes
from trainer import dataset, letterbox, run_lengths
from trainer.augment import Affine, augment, move_boxes, move_masks
from trainer.detectors import Targets, pad_targets
from trainer.ground_truth import example, with_masks
from trainer.training import Example

SIZE = (160, 96)


def _filled(boxes: np.ndarray, size: tuple[int, int]) -> Targets:
    """Objects that fill their boxes."""
    targets = pad_targets([boxes.astype(np.float32)], [np.zeros(len(boxes), np.int64)])
    masks = torch.zeros(1, len(boxes), size[1], size[0], dtype=torch.bool)
    for at, (left, top, right, bottom) in enumerate(boxes.astype(int).tolist()):
        masks[0, at, top:bottom, left:right] = True
    return replace(targets, masks=masks)


@pytest.mark.parametrize("size", [None, (128, 96)])
@pytest.mark.parametrize("seed", range(4))
def test_masks_move_with_their_boxes(seed: int, size: tuple[int, int] | None) -> None:
    boxes = np.array([[10, 20, 60, 70], [80, 8, 140, 90], [30, 60, 90, 90]])
    config = Training(vertical_flip=True)
    images = torch.zeros(1, 3, SIZE[1], SIZE[0])
    _, moved = augment(images, _filled(boxes, SIZE), config, torch.Generator().manual_seed(seed), size)
    assert moved.masks is not None and moved.masks.shape == (1, 3, *((size or SIZE)[::-1]))
    assert moved.valid.any()
    for box, mask, valid in zip(moved.boxes[0], moved.masks[0], moved.valid[0], strict=True):
        if not valid:
            assert not mask.any()
            continue
        rows, columns = torch.nonzero(mask, as_tuple=True)
        bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert torch.stack(bounds).float().tolist() == pytest.approx(box.tolist(), abs=1)


def test_what_leaves_the_image_is_gone_and_does_not_come_back_on_the_other_side() -> None:
    targets = _filled(np.array([[0, 0, 40, 96]]), SIZE)
    moves = Affine(torch.ones(1, 2), torch.tensor([[-0.25, 0.0]]))
    moved = move_masks(targets.masks, moves, SIZE)
    assert moved[0, 0, :, :20].all() and not moved[0, 0, :, 20:].any()
    assert move_boxes(targets, moves, SIZE).boxes[0, 0].tolist() == [0, 0, 20, 96]


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 90), st.integers(2, 90), st.data())
def test_a_letterboxed_mask_lies_over_the_letterboxed_pixels(width: int, height: int, data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    drawn = np.zeros((height, width), bool)
    drawn[top:bottom, left:right] = True
    box = Box("disc", left / width, top / height, right / width, bottom / height, mask=run_lengths.of_pixels(drawn))
    image = letterbox.letterboxed(np.zeros((height, width, 3), np.uint8), (width, height), (64, 64))
    made = example(image, with_masks(ImageLabels("a.png", boxes=(box,)), shapes.CLASSES, (width, height)))
    assert made.masks is not None and made.masks[0] is not None
    mask = run_lengths.pixels(made.masks[0])
    if mask.any():
        rows, columns = np.nonzero(mask)
        bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert bounds == pytest.approx(made.boxes[0].tolist(), abs=1)


def test_examples_refuse_masks_that_do_not_fit() -> None:
    one = shapes.example(0, SIZE)
    with pytest.raises(ValueError, match="masks must be G"):
        Example(one.pixels, one.boxes, one.labels, one.masks[1:])
    with pytest.raises(ValueError, match="pixels' size"):
        Example(one.pixels[:-1], one.boxes, one.labels, one.masks)


def test_an_object_without_a_mask_is_a_problem_and_is_learned_as_a_box() -> None:
    blobs = open_store("memory:").images
    for name in ("whole.png", "lacking.png"):
        blobs.create(name, shapes.png(0, SIZE))
    whole = shapes.labels(0, "whole.png", SIZE)
    outline = Polygons(((0.1, 0.1, 0.5, 0.1, 0.5, 0.5),))
    lacking = replace(whole, image="lacking.png", boxes=(replace(whole.boxes[0], mask=None), replace(whole.boxes[1], mask=outline)))
    data = dataset.load(blobs, [whole, lacking], shapes.CLASSES, SIZE, "masks")
    first, second = data.examples
    assert first.masks == shapes.example(0, SIZE).masks
    assert second.masks is not None and second.masks[0] is None and second.masks[1] is not None and len(second.boxes) == 2
    [problem] = data.problems
    assert problem.where == "lacking.png" and "1 of its 2 objects have no mask" in problem.what and "draw the masks" in problem.what
    boxes_only = dataset.load(blobs, [whole, lacking], shapes.CLASSES, SIZE)
    assert boxes_only.problems == () and [one.masks for one in boxes_only.examples] == [None, None]


def test_a_sideways_photo_and_its_mask_agree() -> None:
    drawn = shapes.draw(3, (96, 160))
    stored, exif = Image.fromarray(np.rot90(drawn.pixels).copy()), Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    stored.save(out, "PNG", exif=exif)
    blobs = open_store("memory:").images
    blobs.create("a.png", out.getvalue())
    data = dataset.load(blobs, [shapes.labels(3, "a.png", (96, 160))], shapes.CLASSES, (96, 160), "masks")
    assert (data.examples[0].pixels == drawn.pixels).all()
    assert data.examples[0].masks == tuple(map(run_lengths.of_pixels, drawn.masks))
