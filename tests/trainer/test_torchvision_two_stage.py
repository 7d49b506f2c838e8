import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer import torchvision_models as tiny
from trainer import box_decoding
from trainer.detectors import torchvision_two_stage as two_stage
from trainer.detectors.torchvision_heads import to_onnx
from trainer.detectors.torchvision_two_stage import AttenuatedPredictor, AttenuatedRoIHeads, BoxHeadSamples, BoxPrediction
from trainer.monte_carlo import draw_masks
from trainer.predictor import open_session

KINDS = ("laplace", "gaussian")


def attenuated(kind: str = "laplace") -> tiny.FasterRCNN:
    """A detector whose scales differ, as after training."""
    model = tiny.faster_rcnn()
    model.roi_heads = AttenuatedRoIHeads(model.roi_heads, kind, 0.1)
    torch.nn.init.normal_(model.roi_heads.box_predictor.log_scale.weight, std=0.1)
    torch.nn.init.normal_(model.roi_heads.box_predictor.log_scale.bias)
    return model


def predictor(features: int, dropout: float = 0.0) -> AttenuatedPredictor:
    torch.manual_seed(0)
    return AttenuatedPredictor(tiny.FastRCNNPredictor(features, tiny.CLASSES), dropout)


def features_of(model: tiny.FasterRCNN) -> Tensor:
    return two_stage.propose(model.eval(), tiny.images()).features


def masks_for(features: Tensor, samples: int) -> Tensor:
    return torch.from_numpy(draw_masks({"masks": features.shape[1]}, samples, 0.2)["masks"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_noise_that_varies_is_recovered_within_five_per_cent(kind):
    noise = tiny.Noise(kind)
    mlp, head = noise.features(), predictor(32)
    labels = torch.full((len(noise.codes),), 2)
    tiny.fit(
        [*mlp.parameters(), *head.parameters()],
        lambda: two_stage.box_nll(kind, head.predict(mlp(noise.x[:, None])), labels, noise.codes),
    )
    scale = head.predict(mlp(noise.x[:, None])).log_scales[:, 2].exp()
    assert (scale / noise.scale - 1).abs().max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [-40.0, -20.0, -8.0, 8.0, 20.0, 40.0])
@pytest.mark.parametrize("error", [0.0, 0.5, 30.0])
def test_a_scale_far_off_is_drawn_back(kind, raw, error):
    head = predictor(4)
    torch.nn.init.constant_(head.log_scale.bias, raw)
    predicted = head.predict(torch.zeros(1, 4))
    truth = predicted.deltas[:, 1].detach() + error
    two_stage.box_nll(kind, predicted, torch.tensor([1]), truth).backward()
    own = head.log_scale.bias.grad.unflatten(0, (-1, 4))[1]
    # downhill is towards log |error|; from an error of 0 always down
    uphill = torch.sign(torch.tensor(raw)) if error else torch.tensor(1.0)
    assert (own * uphill > 0).all()


def test_the_loss_is_that_of_the_own_class_of_the_foreground_over_all_regions():
    predicted = BoxPrediction(torch.zeros(3, 2), torch.zeros(3, 2, 4), torch.zeros(3, 2, 4))
    predicted.deltas[1, 1] = torch.tensor([1.0, 2, 3, 4])
    predicted.log_scales[1, 1] = math.log(2)
    truth = torch.full((3, 4), 9.0)
    truth[1] = torch.tensor([1.0, 2, 3, 0])
    loss = two_stage.box_nll("laplace", predicted, torch.tensor([0, 1, 0]), truth)
    assert loss.item() == pytest.approx((4 / 2 + 4 * math.log(2)) / 3)
    loss = two_stage.box_nll("gaussian", predicted, torch.tensor([0, 1, 0]), truth)
    assert loss.item() == pytest.approx((4**2 / (2 * 2**2) + 4 * math.log(2)) / 3)


def test_a_batch_of_background_alone_costs_nothing_and_has_a_gradient():
    head = predictor(4)
    loss = two_stage.box_nll("laplace", head.predict(torch.ones(5, 4)), torch.zeros(5, dtype=torch.long), torch.zeros(5, 4))
    loss.backward()
    assert loss.item() == 0
    assert head.bbox_pred.weight.grad.abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_training_lowers_the_loss_of_the_boxes_and_the_sum(kind):
    model = tiny.faster_rcnn()
    model.roi_heads = AttenuatedRoIHeads(model.roi_heads, kind, 0.1)
    before = tiny.losses(model)
    tiny.step(model, 0.001)
    after = tiny.losses(model)
    assert after["loss_box_reg"] < 0.95 * before["loss_box_reg"]
    assert sum(after.values()) < 0.95 * sum(before.values())
    assert all(one.grad is not None and one.grad.abs().max() > 0 for one in model.roi_heads.parameters())


def test_with_scales_of_one_and_no_dropout_only_the_boxes_loss_differs_from_torchvision():
    plain, model = tiny.faster_rcnn(), tiny.faster_rcnn()
    model.roi_heads = AttenuatedRoIHeads(model.roi_heads, "laplace", 0.0)
    expected, losses = tiny.losses(plain), tiny.losses(model)
    assert losses.keys() == expected.keys()
    for name in losses.keys() - {"loss_box_reg"}:
        assert losses[name].item() == expected[name].item()
    # smooth L1 is |e| - beta / 2 beyond beta = 1/9, and less than |e| within
    assert 0 < losses["loss_box_reg"] - expected["loss_box_reg"] < 4 * 0.25 / 18 + 1e-6


def test_it_predicts_what_torchvision_predicts():
    plain, model = tiny.faster_rcnn().eval(), tiny.faster_rcnn()
    model.roi_heads = AttenuatedRoIHeads(model.roi_heads, "laplace", 0.5)
    with torch.no_grad():
        expected, found = plain(tiny.images()), model.eval()(tiny.images())
    assert sum(len(one["boxes"]) for one in expected) > 5
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("boxes", "labels", "scores"))


def test_in_training_features_are_dropped_alike_for_classes_and_boxes():
    head = predictor(64, dropout=0.5)
    torch.nn.init.ones_(head.log_scale.weight)
    for layer in (head.cls_score, head.bbox_pred):
        torch.nn.init.constant_(layer.weight, 0.01)
        torch.nn.init.zeros_(layer.bias)
    predicted = head.predict(torch.full((20, 64), 0.01))
    assert len(predicted.logits[:, 0].unique()) > 5
    assert torch.allclose(predicted.logits[:, :1], predicted.deltas[:, 0, :1])


def test_masks_of_ones_are_the_plain_head():
    model = attenuated()
    features = features_of(model)
    plain = model.roi_heads.box_predictor.predict(features)
    logits, deltas, log_stds = BoxHeadSamples(model.roi_heads)(features, torch.ones(1, features.shape[1]))
    weights = torch.tensor([10.0, 10, 5, 5])
    assert (logits[0] - plain.logits).abs().max() < 1e-6
    assert (deltas[0] - plain.deltas / weights).abs().max() < 1e-6
    assert (log_stds[0] - plain.log_scales - math.log(math.sqrt(2)) + weights.log()).abs().max() < 1e-6


def test_samples_are_those_of_as_many_passes_under_the_same_masks():
    model = attenuated("gaussian")
    features = features_of(model)
    masks = masks_for(features, 10)
    passes = [model.roi_heads.box_predictor.predict(features * mask) for mask in masks]
    samples = BoxHeadSamples(model.roi_heads)(features, masks)
    weights = torch.tensor([10.0, 10, 5, 5])
    naive = (
        torch.stack([one.logits for one in passes]),
        torch.stack([one.deltas for one in passes]) / weights,
        torch.stack([one.log_scales for one in passes]) - weights.log(),
    )
    for output, expected in zip(samples, naive, strict=True):
        assert expected.var(0).amin(0).amax() > 1e-8
        assert torch.allclose(output, expected, rtol=1e-4, atol=1e-6)
        assert torch.allclose(output.var(0), expected.var(0), rtol=1e-3, atol=1e-9)


def test_the_exported_head_gives_the_same_for_any_number_of_regions_and_samples():
    model = attenuated()
    features = features_of(model)
    samples = BoxHeadSamples(model.roi_heads)
    session = open_session(to_onnx(samples, features[:3], masks_for(features, 2)))
    assert [one.name for one in session.get_outputs()] == list(samples.outputs)
    for regions, drawn in ((1, 1), (2, 2), (len(features), 10)):
        given = features[:regions], masks_for(features, drawn)
        exported = session.run(None, dict(zip(samples.inputs, (one.numpy() for one in given), strict=True)))
        for output, expected in zip(exported, samples(*given), strict=True):
            assert output.shape == expected.shape == (drawn, regions, *expected.shape[2:])
            np.testing.assert_allclose(output, expected.detach().numpy(), atol=1e-5)


def test_samples_decode_to_the_boxes_of_torchvision():
    model = attenuated()
    regions = two_stage.propose(model.eval(), tiny.images())
    plain = model.roi_heads.box_predictor.predict(regions.features).deltas.detach()
    expected = model.roi_heads.box_coder.decode(plain.flatten(1), [regions.xyxy])
    _, deltas, _ = BoxHeadSamples(model.roi_heads)(regions.features, torch.ones(1, regions.features.shape[1]))
    for label in range(tiny.CLASSES):
        code = deltas[0, :, label].detach().numpy()
        exact = box_decoding.decode("l-norm", code, np.zeros_like(code), regions.xyxy.numpy())
        np.testing.assert_allclose(exact.xyxy, expected[:, label].numpy(), atol=1e-3)


def test_regions_are_those_of_both_images_in_turn():
    regions = two_stage.propose(attenuated().eval(), tiny.images())
    assert regions.sizes == [(64, 96), (64, 96)]
    assert len(regions.features) == len(regions.xyxy) == len(regions.image)
    assert regions.image.unique_consecutive().tolist() == [0, 1]
    assert regions.xyxy.min() >= 0
    assert (regions.xyxy.amax(0) <= torch.tensor([96.0, 64, 96, 64])).all()


def test_regions_of_a_model_in_training_are_refused():
    with pytest.raises(ValueError, match="call eval"):
        two_stage.propose(attenuated().train(), tiny.images())


def test_with_a_mask_head_its_loss_is_that_of_torchvision():
    plain, model = tiny.mask_rcnn(), tiny.mask_rcnn()
    model.roi_heads = AttenuatedRoIHeads(model.roi_heads, "laplace", 0.0)
    expected, losses = tiny.losses(plain), tiny.losses(model)
    assert losses.keys() == expected.keys()
    for name in losses.keys() - {"loss_box_reg"}:
        assert losses[name].item() == expected[name].item()
    assert losses["loss_mask"] > 0


def test_a_keypoint_head_and_an_unknown_likelihood_are_refused():
    with pytest.raises(ValueError, match="keypoint head"):
        AttenuatedRoIHeads(tiny.faster_rcnn(tiny.KeypointRCNN).roi_heads, "laplace", 0.1)
    with pytest.raises(KeyError, match="cauchy"):
        AttenuatedRoIHeads(tiny.faster_rcnn().roi_heads, "cauchy", 0.1)
