import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainer import torchvision_models as tiny
from trainer import box_decoding
from trainer.detectors import full_dropout, torchvision_retinanet
from trainer.detectors.torchvision_heads import to_onnx
from trainer.detectors.torchvision_retinanet import AttenuatedHead, RetinaNetSamples
from trainer.monte_carlo import draw_masks
from trainer.predictor import open_session

KINDS = ("laplace", "gaussian")
CHANNELS = 256


class Backbone(nn.Module):
    """Two levels at strides 8 and 16: as much of a network as the export of its head needs."""

    out_channels = 16

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, self.out_channels, 8, 8)
        self.coarse = nn.Conv2d(self.out_channels, self.out_channels, 2, 2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        fine = self.fine(images).relu()
        return {"0": fine, "1": self.coarse(fine).relu()}


def attenuated(kind: str = "laplace", dropout: float = 0.1) -> tiny.RetinaNet:
    model = tiny.retinanet()
    model.head = AttenuatedHead(model.head, kind, dropout)
    return model


def small(kind: str = "laplace") -> tiny.RetinaNet:
    """On the small backbone, and with weights that differ by channel, so that a mask matters."""
    torch.manual_seed(0)
    anchors = tiny.AnchorGenerator(((16,), (32,)), ((0.5, 1.0),) * 2)
    model = tiny.RetinaNet(Backbone(), tiny.CLASSES, min_size=64, max_size=96, anchor_generator=anchors)
    model.head = AttenuatedHead(model.head, kind, 0.1)
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def batch(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


def masks(samples: int, channels: int = Backbone.out_channels) -> list[Tensor]:
    drawn = draw_masks({"class_masks": channels, "box_masks": channels}, samples, 0.3)
    return [torch.from_numpy(one) for one in drawn.values()]


def plain_outputs(model: tiny.RetinaNet, images: Tensor) -> dict[str, Tensor]:
    """What the model's own forward computes of images 0..255 before it looks for detections."""
    normalised, _ = model.transform(list(images / 255))
    return model.head(list(model.backbone(normalised.tensors).values()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_of_noise_that_varies_is_recovered_within_five_per_cent(kind):
    noise = tiny.Noise(kind)
    head = attenuated(kind).head.regression_head
    network = nn.Sequential(*noise.features(), nn.Linear(32, 8))
    # anchors of several shapes, and boxes of which the code is the noise
    anchors = torch.tensor([[10.0, 20, 60, 50], [0, 0, 32, 32]]).repeat(len(noise.codes) // 2, 1)
    target = {"boxes": head.box_coder.decode_single(noise.codes, anchors)}
    matched = torch.arange(len(anchors))

    def loss() -> Tensor:
        deltas, log_scales = network(noise.x[:, None]).split(4, 1)
        outputs = {"bbox_regression": deltas[None], "log_scales": log_scales[None]}
        return head.compute_loss([target], outputs, [anchors], [matched])

    tiny.fit(network.parameters(), loss)
    scale = network(noise.x[:, None])[:, 4:].exp()
    assert (scale / noise.scale - 1).abs().max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [-40.0, -8.0, 8.0, 40.0])
def test_a_scale_far_off_is_drawn_back(kind, raw):
    model = attenuated(kind)
    bias = model.head.regression_head.log_scale.bias
    nn.init.constant_(bias, raw)
    tiny.losses(model)["bbox_regression"].backward()
    assert (bias.grad * math.copysign(1, raw) > 0).any()
    assert (bias.grad * math.copysign(1, raw) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_of_training_lowers_both_losses(kind):
    model = attenuated(kind)
    before = tiny.losses(model)
    tiny.step(model, 0.03)
    after = tiny.losses(model)
    assert after["bbox_regression"] < 0.95 * before["bbox_regression"]
    assert after["classification"] < before["classification"]
    assert all(one.grad is not None and one.grad.abs().max() > 0 for one in model.head.parameters())


def test_with_scales_of_one_the_laplace_likelihood_is_the_l1_of_torchvision():
    expected, losses = tiny.losses(tiny.retinanet()), tiny.losses(attenuated("laplace", 0.0))
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-6)


def test_images_without_objects_alone_have_no_loss_of_boxes():
    model = attenuated().train()
    losses = model(tiny.images()[1:], tiny.targets()[1:])
    assert losses["bbox_regression"].item() == 0
    assert losses["classification"] > 0


def test_it_predicts_what_torchvision_predicts_and_the_plain_head_is_left_as_it_was():
    plain = tiny.retinanet().eval()
    plain.score_thresh = 0.0
    head, channels = plain.head, len(plain.head.classification_head.conv)
    with torch.no_grad():
        expected = plain(tiny.images())
        plain.head = AttenuatedHead(plain.head, "laplace", 0.5).eval()
        found = plain(tiny.images())
    assert sum(len(one["boxes"]) for one in expected) > 5
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("boxes", "labels", "scores"))
    assert len(head.classification_head.conv) == len(head.regression_head.conv) == channels


def test_dropout_is_for_training_alone():
    head = attenuated(dropout=0.5).head
    levels = [torch.rand(1, CHANNELS, 4, 4)]
    first, second = head.train()(levels), head(levels)
    assert not torch.equal(first["cls_logits"], second["cls_logits"])
    assert not torch.equal(first["bbox_regression"], second["bbox_regression"])
    first, second = head.eval()(levels), head(levels)
    assert torch.equal(first["cls_logits"], second["cls_logits"])


@pytest.mark.parametrize(("kind", "std_of_scale"), [("laplace", math.sqrt(2)), ("gaussian", 1.0)])
def test_masks_of_ones_are_the_plain_network(kind, std_of_scale):
    model = small(kind)
    plain = plain_outputs(model, batch())
    ones = torch.ones(1, Backbone.out_channels)
    logits, deltas, log_stds = RetinaNetSamples(model)(batch(), ones, ones)
    assert logits.shape == (2, 1, 2 * (8 * 12 + 4 * 6), tiny.CLASSES)
    assert (logits[:, 0] - plain["cls_logits"]).abs().max() < 1e-6
    assert (deltas[:, 0] - plain["bbox_regression"]).abs().max() < 1e-6
    assert (log_stds[:, 0] - plain["log_scales"] - math.log(std_of_scale)).abs().max() < 1e-6


def test_samples_are_those_of_as_many_passes_under_the_same_masks():
    model = small()
    class_masks, box_masks = masks(10)
    samples = RetinaNetSamples(model)(batch(), class_masks, box_masks)
    names = "cls_logits", "bbox_regression", "log_scales"
    passes = [_masked_pass(model, *pair) for pair in zip(class_masks, box_masks, strict=True)]
    for output, name in zip(samples, names, strict=True):
        expected = torch.stack([one[name] for one in passes], 1)
        assert expected.var(1).amax() > 1e-5
        assert torch.allclose(output.var(1), expected.var(1), rtol=1e-3, atol=1e-8)
        offset = math.log(math.sqrt(2)) if name == "log_scales" else 0
        assert torch.allclose(output, expected + offset, rtol=1e-4, atol=1e-5)


def _masked_pass(model: tiny.RetinaNet, class_mask: Tensor, box_mask: Tensor) -> dict[str, Tensor]:
    """One plain pass in which a hook multiplies what the towers give."""
    towers = (model.head.classification_head.conv, class_mask), (model.head.regression_head.conv, box_mask)
    handles = [tower.register_forward_hook(lambda _, __, out, mask=mask: out * mask[:, None, None]) for tower, mask in towers]
    try:
        return plain_outputs(model, batch())
    finally:
        for handle in handles:
            handle.remove()


def test_dropout_through_the_whole_network_is_there_to_compare_with():
    samples = RetinaNetSamples(small())
    inputs = batch(), *masks(1)
    plain = [one.detach() for one in samples(*inputs)]
    unchanged = full_dropout.sample(samples, inputs, (nn.Conv2d,), 0.0, 2, 0)
    dropped = full_dropout.sample(samples, inputs, (nn.Conv2d,), 0.3, 2, 0)
    for output, same, expected in zip(dropped, unchanged, plain, strict=True):
        assert all(torch.equal(one, expected) for one in same)
        assert ((output - expected).flatten(2).abs().amax(2) > 1e-3).all()


def test_the_exported_network_gives_the_same_for_any_batch_and_number_of_samples():
    samples = RetinaNetSamples(small())
    session = open_session(to_onnx(samples, batch(), *masks(3)))
    assert [one.name for one in session.get_outputs()] == list(samples.outputs)
    for count, drawn in ((1, 1), (3, 2), (2, 10)):
        given = batch(count), *masks(drawn)
        exported = session.run(None, dict(zip(samples.inputs, (one.numpy() for one in given), strict=True)))
        for output, expected in zip(exported, samples(*given), strict=True):
            assert output.shape == expected.shape
            assert output.shape[:2] == (count, drawn)
            np.testing.assert_allclose(output, expected.detach().numpy(), atol=1e-5)


def test_anchors_and_deltas_decode_to_the_boxes_of_torchvision():
    model = small().train()
    corners = torchvision_retinanet.anchors(model, (96, 64))
    assert model.backbone.training
    ones = torch.ones(1, Backbone.out_channels)
    _, deltas, _ = RetinaNetSamples(model.eval())(batch(1), ones, ones)
    expected = model.head.regression_head.box_coder.decode_single(deltas[0, 0].detach(), corners)
    code = deltas[0, 0].detach().numpy()
    decoded = box_decoding.decode("l-norm", code, np.zeros_like(code), corners.numpy())
    np.testing.assert_allclose(decoded.xyxy, expected.numpy(), atol=1e-3)


def test_anchors_are_in_the_order_of_the_outputs():
    corners = torchvision_retinanet.anchors(small(), (96, 64))
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    fine, coarse = centres[: 2 * 96].view(8, 12, 2, 2), centres[2 * 96 :].view(4, 6, 2, 2)
    assert torch.equal(fine[3, 5, 0], torch.tensor([5.0 * 8, 3 * 8]))
    assert torch.equal(coarse[2, 4, 1], torch.tensor([4.0 * 16, 2 * 16]))


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(KeyError, match="cauchy"):
        attenuated("cauchy")
