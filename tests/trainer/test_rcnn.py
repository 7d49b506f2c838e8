from dataclasses import replace

import numpy as np
import pytest
import torch

from activelearning.errors import UserError
from tests.trainer import scenes, torchvision_models  # noqa: F401
from trainer import detections, detectors, export, training
from trainer.checkpoint import read
from trainer.detectors import Targets
from trainer.monte_carlo import draw_masks
from trainer.recipe import Plan

from tests.trainer import torchvision_families as tiny  # isort: skip
from torchvision.models.detection.image_list import ImageList  # isort: skip

NAMES = [f"{kind}-{backbone}" for kind in ("fasterrcnn", "maskrcnn") for backbone in ("resnet50", "regnet", "convnext")]
LOOKED_AT = "fasterrcnn-regnet", "maskrcnn-convnext"
OUTLINES = LOOKED_AT[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name):
    model = detectors.build(name, 2, 0, tiny=True)
    sums = tiny.steps(model, [tiny.outlined(seed) for seed in range(2)], 4)
    assert sums[-1] < 0.9 * sums[0]
    assert all(one.grad is not None for one in model.parameters())


@pytest.mark.parametrize("name", LOOKED_AT)
def test_images_without_objects_are_negatives(name):
    model = detectors.build(name, 2, 0, tiny=True)
    empty = [scenes.scene(0, objects=0)]
    sums = tiny.steps(model, empty, 3)
    assert np.isfinite(sums).all()
    assert sums[-1] < sums[0]
    assert all(value.isfinite().all() for value in model.state_dict().values())
    losses = model.eval().losses(tiny.images(empty), tiny.targets(empty))
    assert losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == 0


def test_a_model_that_is_only_evaluated_has_losses_and_stays_as_it_is():
    model = detectors.build(OUTLINES, 2, 0, tiny=True).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    examples = [tiny.outlined(0)]
    losses = model.losses(tiny.images(examples), tiny.targets(examples))
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_objects_without_an_outline_teach_their_boxes_alone():
    model = detectors.build(OUTLINES, 2, 0, tiny=True).eval()
    examples = [tiny.outlined(0), scenes.scene(1, objects=0)]
    truth = tiny.targets(examples)
    without = Targets(truth.boxes, truth.labels, truth.valid, torch.zeros_like(truth.masks))
    for targets, loses in ((truth, True), (without, False)):
        torch.manual_seed(0)
        losses = model.losses(tiny.images(examples), targets)
        assert (losses["loss_mask"] > 0) == loses
        assert losses["loss_objectness"] > 0


def test_boxes_alone_are_refused_by_what_learns_outlines():
    model = detectors.build(OUTLINES, 2, 0, tiny=True)
    truth = tiny.targets([scenes.scene(0)])
    with pytest.raises(UserError, match="learns outlines, and there are only boxes"):
        model.losses(tiny.images([scenes.scene(0)]), Targets(truth.boxes, truth.labels, truth.valid))


@pytest.mark.parametrize("name", LOOKED_AT)
def test_it_finds_what_torchvision_finds(name):
    model = tiny.trained(name)
    batch = tiny.images([tiny.outlined(seed) for seed in range(3)])
    ours, theirs = tiny.found(name, model, batch), tiny.by_torchvision(model, batch)
    assert sum(len(one) for one in ours) > 6
    assert all(tiny.same(one, other, 1) for one, other in zip(ours, theirs, strict=True))


def test_its_regions_are_those_of_torchvision_before_it_has_learned_anything():
    # then boxes lie close upon each other, and none is sure
    model = detectors.build(LOOKED_AT[0], 2, 0, tiny=True).eval()
    batch = tiny.images([scenes.scene(seed) for seed in range(2)])
    with torch.inference_mode():
        levels = model.network.backbone(model.normalise(batch))
        expected, _ = model.network.rpn(ImageList(batch, [(96, 128)] * 2), levels)
        regions, real = model._regions(batch, list(levels.values()))
    for mine, there, theirs in zip(regions, real, expected, strict=True):
        overlap = detections.box_iou(mine[there].numpy(), theirs.numpy())
        assert there.sum() == len(theirs)
        assert overlap.max(1).min() > 0.999
        assert overlap.max(0).min() > 0.999


def test_its_outlines_are_those_of_torchvision():
    model = tiny.trained(OUTLINES)
    batch = tiny.images([tiny.outlined(seed) for seed in range(3)])
    for ours, theirs in zip(tiny.found(OUTLINES, model, batch), tiny.by_torchvision(model, batch), strict=True):
        partner = detections.box_iou(ours.xyxy, theirs["boxes"]).argmax(1)
        np.testing.assert_allclose(ours.masks.grids, theirs["masks"][partner, 0], atol=1e-3)
        np.testing.assert_array_equal(ours.masks.frames, ours.xyxy)


@pytest.mark.parametrize("name", LOOKED_AT)
def test_the_exported_model_finds_the_same_at_any_batch_size(name):
    model = tiny.trained(name)
    onnx = export.export(model, name, scenes.SIZE)
    parity = export.check_parity(model, onnx, name, [tiny.outlined(seed).pixels for seed in range(3)], tiny.SETTINGS)
    assert parity.detections > 30
    assert parity.missing == 0
    assert parity.score_difference < 1e-4
    assert 0 < parity.spread_difference < 0.01


@pytest.mark.parametrize("name", LOOKED_AT)
def test_spread_and_features_follow_the_boxes(name):
    one = tiny.found(name, tiny.trained(name), tiny.images([tiny.outlined(0)]), samples=5)[0]
    assert one.spread.aleatoric.min() > 0
    assert one.spread.epistemic.max() > 0
    assert one.features.shape == (len(one), 128)
    assert (one.masks is not None) == (name == OUTLINES)


def test_samples_are_those_of_as_many_passes_with_masked_features():
    name = LOOKED_AT[0]
    model, family = tiny.trained(name), detectors.family(name)
    batch = tiny.images([tiny.outlined(0)])
    masks = torch.from_numpy(draw_masks(family.masks, 3, 0.3)["feature_masks"])
    predictor = model.network.roi_heads.box_predictor
    with torch.inference_mode():
        outputs = dict(zip(family.outputs, model(batch, masks), strict=True))
        for sample, mask in enumerate(masks):
            said = predictor.predict(outputs["features"][0] * mask[: outputs["features"].shape[2]])
            torch.testing.assert_close(outputs["sampled_scores"][0, sample], said.logits.softmax(1)[:, 1:], atol=1e-5, rtol=1e-4)
            own = said.deltas[torch.arange(len(said.deltas)), outputs["labels"][0].clamp(min=0) + 1] / torch.tensor([10.0, 10, 5, 5])
            real = outputs["labels"][0] >= 0
            torch.testing.assert_close(outputs["sampled_codes"][0, sample][real], own[real], atol=1e-5, rtol=1e-4)


def test_a_resumed_run_ends_in_the_very_same_weights():
    plan = Plan(4, 1e-3, recipe=detectors.family(OUTLINES).recipe)
    config = replace(scenes.CONFIG, batch_size=2, checkpoint_every=2)
    examples, saved = [tiny.outlined(seed) for seed in range(3)], []

    def train(**options):
        return training.train(detectors.build(OUTLINES, 2, 0, tiny=True), examples, config, plan, **options).state_dict()

    whole = train(on_checkpoint=lambda one: saved.append(one.to_bytes()))
    again = train(checkpoint=read(saved[0]))
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
