"""The compact detector's Monte-Carlo samples and box scales: against masks applied by hand, through decoding, and in older models."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import detectors, onnx_graph, spread
from trainer.detections import Detections
from trainer.detectors import compact, pad_targets
from trainer.monte_carlo import draw_masks
from trainer.predictor import INPUT, Predicted, Predictor, open_session
from trainer.weights import Weights, warm_start, weights_of

MASKS = {name: torch.from_numpy(mask) for name, mask in draw_masks(compact.masks, 6, compact.dropout).items()}
LAPLACE = pytest.approx(0.5 * math.log(2))
EVERYTHING = Prediction(min_confidence=0.0, max_detections=300)


def images(count: int = 2) -> Tensor:
    return torch.from_numpy(np.stack([one.pixels for one in scenes.scenes()[:count]])).permute(0, 3, 1, 2).float()


@torch.inference_mode()
def run(model: nn.Module, *masks: Tensor) -> tuple[Tensor, ...]:
    return model(images(), *masks)


class Times(nn.Module):
    """In the place of dropout: the channels times a mask (64,)."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, features: Tensor) -> Tensor:
        return features * self.mask[:, None, None]


def thinned(mask: Tensor) -> tuple[Tensor, ...]:
    model = copy.deepcopy(scenes.trained())
    model.dropout = Times(mask)
    return run(model)


def test_one_sample_with_masks_of_ones_is_the_plain_model() -> None:
    logits, distances, _, sampled_logits, sampled_distances, *_ = run(scenes.trained(), torch.ones(1, 64), torch.ones(1, 64))
    assert torch.allclose(sampled_logits[:, 0], logits, rtol=1e-5, atol=1e-5)
    assert torch.allclose(sampled_distances[:, 0], distances, rtol=1e-5, atol=1e-5)


def test_samples_in_one_product_are_runs_with_masks_by_hand() -> None:
    _, _, _, logits, distances, *_ = run(scenes.trained(), *MASKS.values())
    assert logits.shape[1] == distances.shape[1] == 6
    for sample, (for_classes, for_boxes) in enumerate(zip(*MASKS.values(), strict=True)):
        assert torch.allclose(logits[:, sample], thinned(for_classes)[0], rtol=1e-4, atol=1e-4)
        assert torch.allclose(distances[:, sample], thinned(for_boxes)[1], rtol=1e-4, atol=1e-4)
    assert logits.std(1).min() > 0 and distances.std(1).min() > 0


def test_masks_leave_the_plain_outputs_alone() -> None:
    plain, masked = run(scenes.trained()), run(scenes.trained(), *MASKS.values())
    assert len(plain) == 3 and len(masked) == len(compact.outputs)
    assert all(torch.equal(first, second) for first, second in zip(plain, masked, strict=False))


def random_outputs(seed: int, samples: int = 5, classes: int = 3) -> list[np.ndarray]:
    """Of two images, with boxes of some 10 to 60 pixels, so that many overlap."""
    random, points = np.random.default_rng(seed), len(compact.grid(*scenes.SIZE)[0])
    logits = random.normal(-1, 2, (2, points, classes))
    distances, log_stds = random.uniform(5, 30, (2, points, 4)), random.normal(-1, 1, (2, points, 4))
    sampled_logits = logits[:, None] + random.normal(size=(2, samples, points, classes))
    sampled_distances = distances[:, None] * np.exp(random.normal(0, 0.2, (2, samples, points, 4)))
    return [one.astype(np.float32) for one in (logits, distances, log_stds, sampled_logits, sampled_distances)]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@pytest.mark.parametrize("settings", [Prediction(min_confidence=0.3), Prediction(min_confidence=0.05, nms_iou=0.2, max_detections=20)])
def test_the_spread_of_each_box_is_that_of_its_grid_point(settings: Prediction) -> None:
    outputs = random_outputs(0)
    centres, strides = compact.grid(*scenes.SIZE)
    for image, found in enumerate(compact.decode(outputs, scenes.SIZE, settings)):
        assert 5 < len(found) < len(centres) / 2 and found.spread
        logits, _, log_stds, sampled_logits, sampled_distances = (output[image] for output in outputs)
        for row in range(len(found)):
            # no two points have the same scores
            point = int(np.abs(sigmoid(logits) - found.class_scores[row]).sum(1).argmin())
            assert found.class_scores[row] == pytest.approx(sigmoid(logits[point]), abs=1e-6)
            assert found.spread.aleatoric[row] == pytest.approx(np.exp(log_stds[point]) * strides[point], rel=1e-5)
            assert found.spread.epistemic[row] == pytest.approx(sampled_distances[:, point].std(0), rel=1e-4, abs=1e-4)
            scores = sigmoid(sampled_logits[:, point])
            assert found.spread.class_epistemic[row] == pytest.approx(scores.std(0), abs=1e-5)
            alone = spread.sampled(scores[:, None], np.zeros((5, 1, 4)), np.zeros((1, 4)))
            assert found.spread.mutual_information[row] == pytest.approx(alone.mutual_information[0], abs=1e-4)


def test_spread_changes_no_detection() -> None:
    outputs = random_outputs(1)
    for full, plain in zip(
        compact.decode(outputs, scenes.SIZE, Prediction()), compact.decode(outputs[:3], scenes.SIZE, Prediction()), strict=True
    ):
        assert plain.spread is None and full.spread is not None and len(plain)
        assert (full.xyxy == plain.xyxy).all() and (full.class_scores == plain.class_scores).all()


def test_what_finds_nothing_has_the_spread_of_nothing() -> None:
    for found in compact.decode(random_outputs(2), scenes.SIZE, Prediction(min_confidence=1.0)):
        assert len(found) == 0 and found.spread is not None and found.spread.class_epistemic.shape == (0, 3)


def pair() -> tuple[nn.Module, nn.Module]:
    """Laplace and Gaussian with the same weights."""
    laplace, gaussian = (detectors.build("compact", 2, seed=4, likelihood=kind).eval() for kind in ("laplace", "gaussian"))
    return laplace, gaussian


def test_the_same_scale_is_a_larger_deviation_if_errors_are_laplaces() -> None:
    laplace, gaussian = ([one.numpy() for one in run(model, *MASKS.values())] for model in pair())
    by_laplace, by_gauss = (compact.decode(one, scenes.SIZE, EVERYTHING)[0] for one in (laplace, gaussian))
    assert (by_laplace.xyxy == by_gauss.xyxy).all() and len(by_gauss) > 20
    assert by_laplace.spread and by_gauss.spread
    assert np.allclose(by_laplace.spread.aleatoric, math.sqrt(2) * by_gauss.spread.aleatoric, rtol=1e-5)
    assert (by_laplace.spread.epistemic == by_gauss.spread.epistemic).all()


def test_the_likelihood_is_what_the_sides_cost() -> None:
    targets = pad_targets([one.boxes for one in scenes.scenes()[:2]], [one.labels for one in scenes.scenes()[:2]])
    laplace, gaussian = (model.losses(images(), targets) for model in pair())
    assert laplace["boxes"] == gaussian["boxes"] and laplace["classes"] == gaussian["classes"]
    assert laplace["sides"] != gaussian["sides"]


def old_state() -> dict[str, Tensor]:
    """The state of a model from before there was a choice of likelihoods."""
    return {name: value for name, value in scenes.trained().state_dict().items() if name != "log_std_of_scale"}


def test_weights_from_before_there_was_a_choice_are_laplaces() -> None:
    model = detectors.build("compact", 2, seed=0, likelihood="gaussian").eval()
    assert model.log_std_of_scale == 0
    model.load_state_dict(old_state())
    assert model.log_std_of_scale.item() == LAPLACE
    assert all(torch.equal(first, second) for first, second in zip(run(model), run(scenes.trained()), strict=True))


def test_other_weights_that_lack_are_still_refused() -> None:
    state = old_state()
    del state["level_scale"]
    with pytest.raises(RuntimeError, match="level_scale"):
        detectors.build("compact", 2, seed=0).load_state_dict(state)


@pytest.mark.parametrize("classes", [scenes.CLASSES, ("square", "ring")])
def test_a_warm_start_keeps_the_meaning_of_its_own_scales(classes: tuple[str, ...]) -> None:
    earlier = Weights.from_bytes(weights_of(scenes.trained(), "compact", scenes.CLASSES).to_bytes())
    assert earlier.state["log_std_of_scale"].item() == LAPLACE
    for weights in (earlier, Weights("compact", scenes.CLASSES, old_state())):
        model = detectors.build("compact", 2, seed=0, likelihood="gaussian")
        warm_start(model, weights, "compact", classes)
        assert model.log_std_of_scale == 0 and model.likelihood == "gaussian"
        assert torch.equal(model.regress.weight, scenes.trained().regress.weight)


def test_a_likelihood_that_there_is_none_of_fails() -> None:
    with pytest.raises(KeyError, match="cauchy"):
        detectors.build("compact", 2, seed=0, likelihood="cauchy")


class WithoutMasks(nn.Module):
    """The trained model as it was exported before there were masks."""

    def __init__(self) -> None:
        super().__init__()
        self.model = scenes.trained()

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        return self.model(batch)


def predicted(onnx: bytes, samples: int) -> Detections:
    """What a predictor finds in the first scene."""
    file = io.BytesIO()
    Image.fromarray(scenes.scenes()[0].pixels).save(file, "PNG")
    [one] = Predictor(onnx, "compact", Prediction(min_confidence=0.3, mc_samples=samples), threads=1).predict([("a", file.getvalue())])
    assert isinstance(one, Predicted)
    return one.detections


def test_a_model_exported_before_there_were_masks_predicts_without_spread() -> None:
    old = onnx_graph.to_onnx(WithoutMasks(), (images(3),), {INPUT: "batch"}, compact.outputs[:3])
    assert [one.name for one in open_session(old).get_inputs()] == [INPUT]
    found, now = predicted(old, 10), predicted(scenes.onnx(), 10)
    assert found.spread is None and now.spread is not None and len(found) == len(now) >= 3
    assert np.allclose(found.xyxy, now.xyxy, atol=0.01) and np.allclose(found.confidence, now.confidence, atol=1e-4)


def test_a_predictor_tells_the_same_spread_every_time_and_none_between_samples_of_one() -> None:
    first, second = (predicted(scenes.onnx(), 10).spread for _ in range(2))
    assert first and second and (first.epistemic == second.epistemic).all()
    assert (first.epistemic > 0).all() and (first.aleatoric > 0).all() and (first.mutual_information > 0).all()
    plain = predicted(scenes.onnx(), 1).spread
    assert plain and np.allclose(plain.aleatoric, first.aleatoric, rtol=1e-4)
    assert not plain.epistemic.any() and not plain.mutual_information.any()
