"""The compact detector with masks: what it learns, what it exports, what is read of it."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from activelearning.settings import Prediction, Training
from tests.trainer import shapes
from trainer import detectors, export, full_network, letterbox, run_lengths, training
from trainer.assessment import for_evaluation
from trainer.detectors import Targets, compact_seg_loss, pad_targets
from trainer.detectors.compact_loss import Assignment
from trainer.detectors.compact_seg import decode
from trainer.evaluation import evaluate
from trainer.ground_truth import GroundTruth
from trainer.masks import Masks
from trainer.monte_carlo import draw_masks
from trainer.predictor import INPUT, Predictor, open_session
from trainer.recipe import Plan

FAMILY, SIZE = "compact-seg", (128, 96)
CONFIG = Training(batch_size=4, threads=1, checkpoint_every=10**6)


@cache
def _trained() -> nn.Module:
    """A model that has learned eight scenes by heart."""
    examples = [shapes.example(seed, SIZE, objects=2) for seed in range(8)]
    model = detectors.build(FAMILY, len(shapes.CLASSES), seed=0)
    return training.train(model, examples, CONFIG, Plan(140, 3e-3))


@cache
def _onnx() -> bytes:
    return export.export(_trained(), FAMILY, SIZE)


def _image(seed: int) -> letterbox.DetectorImage:
    return letterbox.letterboxed(shapes.draw(seed, SIZE, 2).pixels, SIZE, SIZE)


def test_masks_are_learned() -> None:
    predictor = Predictor(_onnx(), FAMILY, for_evaluation(Prediction()), threads=1)
    found = [predictor.detect(_image(seed)) for seed in range(8)]
    drawn = [shapes.draw(seed, SIZE, 2) for seed in range(8)]
    truth = [GroundTruth(one.xyxy, one.class_id, tuple(map(run_lengths.of_pixels, one.masks))) for one in drawn]
    metrics = evaluate(truth, [one.with_rle(SIZE) for one in found], shapes.CLASSES)
    assert metrics.value("mask_ap50") >= 0.9
    # boxes in place of masks would not do: a triangle fills half of its box, a cross five ninths
    assert metrics.value("mask_ap75") >= 0.6


def test_the_exported_model_draws_what_the_trained_one_draws() -> None:
    family, settings = detectors.family(FAMILY), Prediction()
    images = [_image(seed).pixels for seed in range(3)]
    assert export.check_parity(_trained(), _onnx(), FAMILY, images, settings).missing == 0
    batch = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    masks = draw_masks(family.masks, 4, family.dropout)
    session = open_session(_onnx())
    assert tuple(one.name for one in session.get_outputs()) == family.outputs
    exported = family.decode(session.run(None, {INPUT: batch} | masks), SIZE, settings)
    with torch.inference_mode():
        own = _trained()(torch.from_numpy(batch), *map(torch.from_numpy, masks.values()))
    for one, other in zip(exported, family.decode([output.numpy() for output in own], SIZE, settings), strict=True):
        assert len(one) == len(one.masks) > 0
        assert np.abs(one.masks.grids - other.masks.grids).max() < 1e-3
        assert np.array_equal(one.masks.frames, other.masks.frames)


def test_the_whole_network_s_dropout_draws_masks_too() -> None:
    found = full_network.detect(_trained(), FAMILY, _image(0), replace(Prediction(), mc_samples=2), 0.05, seed=0)
    assert isinstance(found.masks, Masks) and len(found.masks) == len(found) > 0 and found.spread is not None


def _outputs(box: tuple[float, float, float, float]) -> list[np.ndarray]:
    """One confident point, whose box has these distances in pixels, on 32 × 32 pixels; its mask would be everything."""
    points = 16 + 4 + 1
    logits, distances = np.full((1, points, 1), -200, np.float32), np.ones((1, points, 4), np.float32)
    logits[0, 5], distances[0, 5] = 5, box
    prototypes, coefficients = np.full((1, 2, 8, 8), 3, np.float32), np.zeros((1, points, 2), np.float32)
    coefficients[0, 5] = 1
    return [logits, distances, np.zeros((1, points, 4), np.float32), prototypes, coefficients]


def test_a_mask_is_cropped_to_its_box_and_a_cell_around_it() -> None:
    # the point stands at (12, 12), so that its box is (8, 4, 20, 16): cells 2 to 5 and 1 to 4
    [found] = decode(_outputs((4, 8, 8, 4)), (32, 32), Prediction())
    assert isinstance(found.masks, Masks)
    rows, columns = np.nonzero(found.masks.grids[0])
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (1, 5, 0, 4)
    assert found.masks.grids[0, 2, 2] == pytest.approx(1 / (1 + np.exp(-6)), rel=1e-5)
    assert found.masks.frames.tolist() == [[0, 0, 32, 32]]


def test_nothing_found_has_no_masks_but_says_so() -> None:
    [found] = decode(_outputs((4, 8, 8, 4)), (32, 32), Prediction(min_confidence=0.999))
    assert isinstance(found.masks, Masks) and len(found.masks) == 0


def _targets(mask: Tensor) -> Targets:
    boxes = pad_targets([np.array([[8, 8, 24, 24]], np.float32)], [np.zeros(1, np.int64)])
    return replace(boxes, masks=mask[None, None])


def _assigned() -> Assignment:
    return Assignment(torch.zeros(1, 2, dtype=torch.long), torch.tensor([[True, False]]), torch.tensor([[1.0, 0.0]]))


def _loss(scale: float, mask: Tensor) -> float:
    """Of a prototype that draws the square from 8 to 24 of 32 pixels, as sure as `scale` says."""
    prototype = torch.full((1, 1, 32, 32), -1.0)
    prototype[..., 8:24, 8:24] = 1
    torch.manual_seed(0)
    return compact_seg_loss.loss(prototype, torch.full((1, 2, 1), scale), _targets(mask), _assigned()).item()


def test_the_loss_falls_towards_the_truth_and_not_below_nothing() -> None:
    square = torch.zeros(32, 32, dtype=torch.bool)
    square[8:24, 8:24] = True
    unsure, sure, wrong = _loss(0, square), _loss(9, square), _loss(-9, square)
    # of 28 × 28 pixels, six around the square's 16: log 2, and one less Dice, whose parts are squares
    share = (16 / 28) ** 2
    assert unsure == pytest.approx(np.log(2) + 1 - share / (0.25 + share), abs=0.05)
    assert 0 <= sure < 0.35 and wrong > 5
    half = square.clone()
    half[:, 16:] = False
    assert _loss(9, half) > 3 * sure


def test_an_object_without_a_mask_costs_nothing() -> None:
    assert _loss(9, torch.zeros(32, 32, dtype=torch.bool)) == 0


def test_masks_cannot_be_learned_from_boxes() -> None:
    with pytest.raises(ValueError, match="without masks"):
        compact_seg_loss.loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, 1), replace(_targets(torch.zeros(8, 8)), masks=None), _assigned())


def test_images_without_objects_have_losses() -> None:
    model = detectors.build(FAMILY, 1, seed=0)
    empty = replace(pad_targets([np.zeros((0, 4), np.float32)] * 2, [np.zeros(0, np.int64)] * 2), masks=torch.zeros(2, 1, 64, 96) > 0)
    losses = model.losses(torch.zeros(2, 3, 64, 96), empty)
    assert losses["masks"].item() == 0
    sum(losses.values()).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize(("family", "task", "word"), [("compact", "masks", "draws boxes"), (FAMILY, "boxes", "draws masks")])
def test_a_family_must_draw_what_people_draw(family: str, task: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        detectors.check_task(family, task)


def test_a_family_that_draws_what_people_draw_is_fine() -> None:
    detectors.check_task(FAMILY, "masks")
    detectors.check_task("compact", "boxes")
