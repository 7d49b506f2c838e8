"""What only RF-DETR has: windows of images that are not square, groups of queries, and masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import detectors
from trainer.detectors import Targets, pad_targets
from trainer.masks import Masks

pytest.importorskip("transformers", reason="RF-DETR needs the extra 'transformers'")
from tests.trainer import query_models

SEG = "rfdetr-seg-small"


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 128), (96, 32)])
def test_windows_hold_neighbours_whatever_the_images_shape(height: int, width: int) -> None:
    backbone = query_models.build("rfdetr-small").network.model.backbone.backbone
    rows, columns = height // 16, width // 16
    # each token says where it is
    places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).flatten(0, 1).float()
    tokens = torch.cat([torch.full((1, 1, 2), -1.0), places[None]], 1)
    windows = backbone.embeddings.window_partition(tokens, height, width)
    assert windows.shape == (4, 1 + rows * columns // 4, 2) and (windows[:, 0] == -1).all()
    for number, window in enumerate(windows[:, 1:]):
        top, left = number // 2 * rows // 2, number % 2 * columns // 2
        assert window.amin(0).tolist() == [top, left] and window.amax(0).tolist() == [top + rows // 2 - 1, left + columns // 2 - 1]
    whole = backbone.window_unpartition(windows[:, 1:], height, width).reshape(1, rows * columns, 2)
    assert torch.equal(whole[0], places)


def test_square_images_are_divided_as_the_library_does() -> None:
    embeddings = query_models.build("rfdetr-small").network.model.backbone.backbone.embeddings
    tokens = torch.rand(2, 1 + 6 * 6, 5)
    theirs = type(embeddings).window_partition(embeddings, tokens, 96, 96)
    assert torch.equal(embeddings.window_partition(tokens, 96, 96), theirs)


def test_the_loss_of_images_only_looked_at_is_of_the_one_group_that_is_used() -> None:
    model = query_models.build("rfdetr-small").eval()
    pixels = torch.from_numpy(scenes.scenes()[0].pixels).permute(2, 0, 1)[None].float()
    targets = pad_targets([scenes.scenes()[0].boxes], [scenes.scenes()[0].labels])
    with torch.no_grad():
        several = model.losses(pixels, targets)
        model.network.config.group_detr = 1
        one = model.losses(pixels, targets)
    assert several == one


def seg_targets(masks: torch.Tensor) -> Targets:
    example = scenes.scenes()[0]
    return replace(pad_targets([example.boxes], [example.labels]), masks=masks)


def areas() -> torch.Tensor:
    """Masks that fill their boxes."""
    masks = torch.zeros(1, 3, scenes.SIZE[1], scenes.SIZE[0], dtype=torch.bool)
    for at, (xmin, ymin, xmax, ymax) in enumerate(scenes.scenes()[0].boxes.astype(int)):
        masks[0, at, ymin:ymax, xmin:xmax] = True
    return masks


def losses(targets: Targets) -> dict[str, float]:
    model = query_models.build(SEG).eval()
    torch.manual_seed(0)
    pixels = torch.from_numpy(scenes.scenes()[0].pixels).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        return {name: value.item() for name, value in model.losses(pixels, targets).items()}


def test_an_object_without_a_mask_is_learned_by_its_box_alone() -> None:
    whole, none = losses(seg_targets(areas())), losses(seg_targets(torch.zeros_like(areas())))
    assert none["masks"] == none["mask_overlap"] == 0 < whole["masks"]
    assert none["classes"] > 0 and none["boxes"] > 0 and none["overlap"] > 0
    some = areas()
    some[0, 0] = False
    assert 0 < losses(seg_targets(some))["masks"] < whole["masks"]


def test_masks_lie_over_the_whole_input() -> None:
    family, model = detectors.family(SEG), query_models.trained(SEG)
    images = torch.from_numpy(np.stack([one.pixels for one in scenes.scenes()[:2]])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        outputs = [one.numpy() for one in model(images, *(torch.ones(1, count) for count in family.masks.values()))]
    found = family.decode(outputs, scenes.SIZE, Prediction(min_confidence=0.02, max_detections=5))
    assert all(len(one) == 5 for one in found)
    for one in found:
        assert isinstance(one.masks, Masks) and (one.masks.frames == [0, 0, *scenes.SIZE]).all()
