import math

import numpy as np
import pytest
import torch

from tests.trainer import scenes, torchvision_models  # noqa: F401
from trainer import detectors, export
from trainer.detectors import EMBEDDING, torchvision_decode
from trainer.monte_carlo import draw_masks

from tests.trainer import torchvision_families as tiny  # isort: skip

KINDS = {"retinanet": "retinanet-convnext", "fcos": "fcos-regnet"}
"""The ones that are looked at closely; each with a backbone of its own."""
NAMES = [f"{kind}-{backbone}" for kind in KINDS for backbone in ("resnet50", "regnet", "convnext")]


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name):
    model = detectors.build(name, 2, 0, tiny=True)
    sums = tiny.steps(model, [scenes.scene(seed) for seed in range(2)], 4)
    assert sums[-1] < 0.9 * sums[0]
    assert all(one.grad is not None for one in model.parameters())


@pytest.mark.parametrize("name", KINDS.values())
def test_images_without_objects_are_negatives(name):
    model = detectors.build(name, 2, 0, tiny=True)
    empty = [scenes.scene(0, objects=0)]
    sums = tiny.steps(model, empty, 3)
    assert np.isfinite(sums).all()
    assert sums[-1] < sums[0]
    losses = model.eval().losses(tiny.images(empty), tiny.targets(empty))
    assert losses["bbox_regression"] == 0


@pytest.mark.parametrize("name", KINDS.values())
def test_it_finds_what_torchvision_finds(name):
    model = tiny.trained(name)
    batch = tiny.images([tiny.outlined(seed) for seed in range(3)])
    ours, theirs = tiny.found(name, model, batch), tiny.by_torchvision(model, batch)
    assert sum(len(one) for one in ours) > 6
    assert all(tiny.same(one, other, 0) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", KINDS.values())
def test_the_exported_model_finds_the_same_at_any_batch_size(name):
    model = tiny.trained(name)
    onnx = export.export(model, name, scenes.SIZE)
    parity = export.check_parity(model, onnx, name, [tiny.outlined(seed).pixels for seed in range(3)], tiny.SETTINGS)
    assert parity.detections > 40
    assert parity.missing == 0
    assert parity.score_difference < 1e-4
    assert 0 < parity.spread_difference < 0.01


@pytest.mark.parametrize("name", KINDS.values())
def test_samples_are_those_of_as_many_passes_with_masked_towers(name):
    model = tiny.trained(name)
    head, family = model.network.head, detectors.family(name)
    batch = tiny.images([scenes.scene(0)])
    masks = [torch.from_numpy(one) for one in draw_masks(family.masks, 3, 0.3).values()]
    with torch.inference_mode():
        outputs = dict(zip(family.outputs, model(batch, *masks), strict=True))
        for sample in range(3):
            handles = [
                tower.conv[-1].register_forward_hook(_masked(mask[sample]))
                for tower, mask in zip((head.classification_head, head.regression_head), masks, strict=True)
            ]
            once = dict(zip(family.outputs, model(batch, *(one[:1] * 0 + 1 for one in masks)), strict=True))
            for handle in handles:
                handle.remove()
            # a masked pass has its own candidates: compare those that both have
            both = _at_same_anchors(outputs, once)
            assert len(both) > 20
            for mine, other in both:
                torch.testing.assert_close(outputs["sampled_scores"][0, sample, mine], once["scores"][0, other], atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(outputs["sampled_codes"][0, sample, mine], once["codes"][0, other], atol=1e-4, rtol=1e-4)


def _masked(mask):
    return lambda module, inputs, output: output * mask[: output.shape[1], None, None]


def _at_same_anchors(first, second):
    place = {tuple(anchor): at for at, anchor in enumerate(second["anchors"][0].tolist())}
    mine = enumerate(first["anchors"][0].tolist())
    return [(at, place[tuple(anchor)]) for at, anchor in mine if tuple(anchor) in place][:50]


@pytest.mark.parametrize("name", KINDS.values())
def test_spread_features_and_embedding_follow_the_boxes(name):
    one = tiny.found(name, tiny.trained(name), tiny.images([tiny.outlined(0)]), samples=5)[0]
    assert one.spread.aleatoric.min() > 0
    assert one.spread.epistemic.max() > 0
    assert one.features.shape == (len(one), 64)
    outputs = detectors.family(name).outputs
    assert outputs[-1] == EMBEDDING


def test_the_likelihood_says_what_the_scales_mean():
    for name in KINDS.values():
        stds = []
        for likelihood in ("laplace", "gaussian"):
            model = detectors.build(name, 2, 0, likelihood, tiny=True).eval()
            with torch.inference_mode():
                stds.append(model(torch.zeros(1, 3, 96, 128), torch.ones(1, 256), torch.ones(1, 256))[4])
        # a scale of one is predicted at first
        assert stds[0].unique().item() == pytest.approx(math.log(math.sqrt(2)))
        assert stds[1].unique().item() == 0


def _outputs(codes: list[list[float]], anchors: list[list[float]], scores: list[list[float]], labels: list[int]) -> list[np.ndarray]:
    """Of one image, two samples that do not differ, scales of a tenth."""
    code, anchor, score = (np.array([values], np.float32) for values in (codes, anchors, scores))
    twice = [np.repeat(values[:, None], 2, 1) for values in (score, code)]
    return [np.array([labels]), score, anchor, code, np.full_like(code, math.log(0.1)), *twice, np.zeros((1, len(labels), 3), np.float32)]


def test_distances_lead_from_the_centre_to_the_sides():
    outputs = _outputs([[1, 2, 3, 0.5]], [[16, 32, 24, 40]], [[0.3, 0.9]], [1])
    (one,) = torchvision_decode.decoder("distances")(outputs, (128, 96), tiny.SETTINGS)
    assert one.xyxy.tolist() == [[20 - 8, 36 - 16, 20 + 24, 36 + 4]]
    assert one.confidence.tolist() == [pytest.approx(0.9)]
    assert one.class_id.tolist() == [1]
    np.testing.assert_allclose(one.spread.aleatoric, [[0.8] * 4], rtol=1e-6)
    assert one.spread.epistemic.max() == 0


def test_deltas_move_and_stretch_the_anchor():
    outputs = _outputs([[0.5, -0.25, math.log(2), 0]], [[10, 20, 30, 60]], [[0.8, 0.1]], [0])
    (one,) = torchvision_decode.decoder("deltas")(outputs, (128, 96), tiny.SETTINGS)
    np.testing.assert_allclose(one.xyxy, [[30 - 20, 30 - 20, 30 + 20, 30 + 20]], atol=1e-4)
    # Var cx = (0.1 · 20)², w is log-normal of median 40: Var w = 40² exp(s²) (exp(s²) - 1) with s = 0.1; a corner adds a quarter of it
    spread = math.sqrt(2**2 + 1600 * math.exp(0.01) * math.expm1(0.01) / 4)
    assert one.spread.aleatoric[0, 0] == pytest.approx(spread, rel=1e-5)


def test_what_is_none_or_unsure_or_outside_or_covered_is_no_detection():
    anchors = [[0, 0, 8, 8], [0, 0, 8, 8], [0, 0, 8, 8], [200, 0, 208, 8], [0, 0, 8, 8], [0, 0, 8, 8]]
    scores = [[0.9, 0.9], [0.01, 0.9], [0.2, 0.7], [0.9, 0.9], [0.6, 0.1], [0.5, 0.1]]
    outputs = _outputs([[0.0] * 4] * 6, anchors, scores, [-1, 0, 1, 0, 0, 0])
    (one,) = torchvision_decode.decoder("deltas")(outputs, (128, 96), tiny.SETTINGS)
    assert one.confidence.tolist() == [pytest.approx(0.7), pytest.approx(0.6)]
    assert one.class_id.tolist() == [1, 0]


def test_a_box_as_unsure_as_can_be_has_a_finite_spread():
    outputs = _outputs([[0.0] * 4], [[0, 0, 8, 8]], [[0.9, 0.9]], [0])
    outputs[4] = np.full_like(outputs[4], 8.0)
    (one,) = torchvision_decode.decoder("deltas")(outputs, (128, 96), tiny.SETTINGS)
    assert np.isfinite(one.spread.aleatoric).all()
