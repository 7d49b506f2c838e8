"""Mosaics and pasted objects: where an object is said to be, it is to be seen."""

import numpy as np
import torch

from tests.trainer import scenes
from trainer import collage
from trainer.detectors import Targets, pad_targets
from trainer.letterbox import FILL
from trainer.recipe import Recipe

EXAMPLES = [scenes.scene(seed, objects=seed % 4) for seed in range(12)]


def _batch(with_masks: bool = False) -> tuple[torch.Tensor, Targets]:
    images = torch.from_numpy(np.stack([one.pixels for one in EXAMPLES])).permute(0, 3, 1, 2).float()
    targets = pad_targets([one.boxes for one in EXAMPLES], [one.labels for one in EXAMPLES])
    masks = torch.zeros(*targets.labels.shape, *images.shape[2:], dtype=torch.bool)
    for row, column in torch.nonzero(targets.valid).tolist():
        xmin, ymin, xmax, ymax = targets.boxes[row, column].int().tolist()
        masks[row, column, ymin:ymax, xmin:xmax] = True
    return images, Targets(targets.boxes, targets.labels, targets.valid, masks if with_masks else None)


def _colours_fit(images: torch.Tensor, targets: Targets, hidden: float) -> bool:
    """Whether within each box, but for the share `hidden`, the colour is that of its class."""
    fits = []
    for row, column in torch.nonzero(targets.valid).tolist():
        xmin, ymin, xmax, ymax = targets.boxes[row, column].round().int().tolist()
        red, _, blue = images[row, :, ymin + 1 : ymax - 1, xmin + 1 : xmax - 1]
        own = red > blue + 50 if targets.labels[row, column] == 0 else blue > red + 50
        fits.append(own.float().mean() >= 1 - hidden)
    return all(fits) and len(fits) > 12


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_a_share_nothing_is_changed_nor_drawn():
    images, targets = _batch()
    generator = _generator()
    before = generator.get_state()
    same = collage.compose(images, targets, Recipe(), generator)
    assert same[0] is images and same[1] is targets and torch.equal(generator.get_state(), before)


def test_objects_of_a_mosaic_lie_within_their_boxes():
    images, targets = _batch()
    made, found = collage.mosaic(images, targets, 1.0, _generator())
    assert made.shape == images.shape and made.min() >= 0 and made.max() <= 255
    assert found.valid.sum(1).max() > targets.valid.sum(1).max()
    assert _colours_fit(made, found, hidden=0.1)
    inside = found.boxes[found.valid]
    assert (inside >= 0).all() and (inside[:, 2] <= 128).all() and (inside[:, 3] <= 96).all()


def test_half_of_the_images_stay_as_they_are():
    images, targets = _batch()
    made, found = collage.mosaic(images, targets, 0.5, _generator(1))
    same = [bool(torch.equal(one, other)) for one, other in zip(made, images, strict=True)]
    assert 2 < sum(same) < 10
    for row in np.flatnonzero(same):
        assert torch.equal(found.boxes[row][found.valid[row]], targets.boxes[row][targets.valid[row]])


def test_the_masks_of_a_mosaic_are_its_objects_pixels():
    images, targets = _batch(with_masks=True)
    made, found = collage.mosaic(images, targets, 1.0, _generator(2))
    coloured = (made[:, 0] - made[:, 2]).abs() > 60
    assert found.masks.shape == (*found.labels.shape, 96, 128)
    assert (found.masks.any(1) != coloured).float().mean() < 0.02
    assert not found.masks[~found.valid].any()


def test_where_an_image_of_a_mosaic_ends_it_is_grey():
    grey, _ = collage.mosaic(
        torch.full((4, 3, 64, 64), 255.0),
        Targets(torch.zeros(4, 1, 4), torch.zeros(4, 1).long(), torch.zeros(4, 1).bool()),
        1.0,
        _generator(),
    )
    values = set(grey.unique().round().int().tolist())
    assert {255, round(FILL)} <= values


def test_pasted_objects_lie_within_their_boxes_and_hide_little_of_others():
    images, targets = _batch()
    made, found = collage.copy_paste(images, targets, 1.0, _generator())
    assert found.valid.sum() > targets.valid.sum()
    assert _colours_fit(made, found, hidden=0.35)
    for row, valid in enumerate(targets.valid):
        kept = found.boxes[row][: int(valid.sum())]
        assert torch.equal(kept, targets.boxes[row][valid])


def test_only_a_masks_pixels_are_pasted_and_taken_from_those_below():
    images = torch.zeros(2, 3, 64, 64)
    images[1] = 200.0
    boxes = torch.tensor([[[0.0, 0.0, 64.0, 64.0]], [[8.0, 8.0, 24.0, 24.0]]])
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    masks[0, 0] = True
    masks[1, 0, 8:24, 8:12] = True
    targets = Targets(boxes, torch.tensor([[0], [1]]), torch.ones(2, 1, dtype=torch.bool), masks)
    tried = (collage.copy_paste(images, targets, 1.0, _generator(seed)) for seed in range(50))
    made, found = next((made, found) for made, found in tried if found.valid[0].sum() == 2)
    pasted = made[0, 0] == 200
    assert pasted.sum() == 16 * 4
    assert torch.equal(found.masks[0, 1], pasted) and torch.equal(found.masks[0, 0], ~pasted)
    xmin, ymin, xmax, ymax = found.boxes[0, 1].int().tolist()
    assert (xmax - xmin, ymax - ymin) == (16, 16) and pasted[ymin:ymax, xmin : xmin + 4].all()


def test_a_batch_is_made_again_from_the_same_generator():
    recipe = Recipe(mosaic=0.5, copy_paste=0.5)
    first, second, other = (collage.compose(*_batch(True), recipe, _generator(seed)) for seed in (5, 5, 6))
    assert (
        torch.equal(first[0], second[0]) and torch.equal(first[1].boxes, second[1].boxes) and torch.equal(first[1].masks, second[1].masks)
    )
    assert not torch.equal(first[0], other[0])


def test_images_without_objects_and_a_batch_of_one_are_fine():
    images, targets = _batch()
    one = (images[:1], Targets(targets.boxes[:1], targets.labels[:1], targets.valid[:1]))
    made, found = collage.compose(*one, Recipe(mosaic=1.0, copy_paste=1.0), _generator())
    assert made.shape == (1, 3, 96, 128) and not found.valid.any()
