import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from activelearning.errors import UserError
from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import detectors
from trainer.detectors import Targets, compact, compact_loss, pad_targets

SIZE = (96, 64)
POINTS = 12 * 8 + 6 * 4 + 3 * 2


def _targets(*boxes: list[tuple[float, float, float, float]]) -> Targets:
    arrays = [np.array(one, np.float32).reshape(-1, 4) for one in boxes]
    return pad_targets(arrays, [np.zeros(len(one), np.int64) for one in arrays])


def test_an_unknown_family_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'resnet' is not a family .* one of: compact"):
        detectors.family("resnet")


def test_building_from_a_seed_is_repeatable_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = (detectors.build("compact", 2, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())


def test_outputs_are_fixed_tensors_over_all_points():
    logits, distances, log_scales = detectors.build("compact", 2, seed=0).eval()(torch.zeros(2, 3, SIZE[1], SIZE[0]))
    assert logits.shape == (2, POINTS, 2)
    assert distances.shape == log_scales.shape == (2, POINTS, 4)
    assert (distances > 0).all()
    # at first nearly everything is background
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.005)


def test_an_image_is_seen_alike_alone_and_in_a_batch():
    model = scenes.trained()
    images = torch.from_numpy(np.stack([one.pixels for one in scenes.scenes()])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        together, alone = model(images)[0][2], model(images[2:3])[0][0]
    assert torch.allclose(together, alone, atol=1e-4)


def test_grid_covers_the_input_level_by_level():
    centres, strides = compact.grid(*SIZE)
    assert len(centres) == len(strides) == POINTS
    assert centres[0].tolist() == [4, 4] and centres[1].tolist() == [12, 4] and strides[0] == 8
    assert centres[-1].tolist() == [80, 48] and strides[-1] == 32


def _outputs(*points: tuple[int, int, float]) -> list[np.ndarray]:
    """Background everywhere but at (point, label, confidence), each with a box of 10 pixels to every side."""
    logits = np.full((1, POINTS, 2), -200, np.float32)
    for point, label, confidence in points:
        logits[0, point, label] = np.log(confidence / (1 - confidence))
    return [logits, np.full((1, POINTS, 4), 10, np.float32), np.zeros((1, POINTS, 4), np.float32)]


def test_decode_reads_boxes_around_their_points_most_confident_first():
    [found] = compact.decode(_outputs((0, 1, 0.6), (14, 0, 0.9)), SIZE, Prediction())
    assert found.xyxy.tolist() == [[10, 2, 30, 22], [0, 0, 14, 14]]
    assert found.class_id.tolist() == [0, 1]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.6])
    assert found.class_scores[1].tolist() == pytest.approx([0, 0.6], abs=1e-6)


def test_decode_keeps_to_the_settings():
    points = [(0, 0, 0.9), (1, 0, 0.8), (11, 0, 0.7), (5, 0, 0.1)]
    [found] = compact.decode(_outputs(*points), SIZE, Prediction(min_confidence=0.2, nms_iou=0.3))
    assert found.confidence.tolist() == pytest.approx([0.9, 0.7])
    [found] = compact.decode(_outputs(*points), SIZE, Prediction(max_detections=1))
    assert len(found) == 1
    [found] = compact.decode(_outputs(), SIZE, Prediction())
    assert len(found) == 0 and found.class_scores.shape == (0, 2)


def test_a_point_may_stand_for_two_classes():
    [found] = compact.decode(_outputs((14, 0, 0.9), (14, 1, 0.8)), SIZE, Prediction())
    assert found.class_id.tolist() == [0, 1]


def _centres() -> Tensor:
    return torch.from_numpy(compact.grid(*SIZE)[0])


def _assign(scores: Tensor, boxes: Tensor, targets: Targets) -> compact_loss.Assignment:
    return compact_loss.assign(scores, boxes, _centres(), targets)


def test_an_object_that_no_box_overlaps_gets_the_ten_points_nearest_its_middle():
    targets = _targets([(0, 0, 64, 64)])
    assigned = _assign(torch.full((1, POINTS, 1), 0.01), torch.zeros(1, POINTS, 4), targets)
    chosen = _centres()[assigned.positive[0]]
    assert len(chosen) == 10
    assert ((chosen - 32).abs().sum(1) <= 24).all()


def test_points_agree_by_score_and_overlap():
    targets = _targets([(0, 0, 64, 64)])
    boxes = torch.zeros(1, POINTS, 4)
    boxes[0, 13] = torch.tensor([0, 0, 64, 64])
    boxes[0, 14] = torch.tensor([0, 0, 64, 48])
    scores = torch.full((1, POINTS, 1), 0.01)
    scores[0, 14] = 0.04
    assigned = _assign(scores, boxes, targets)
    # agreement: sqrt(0.01)·1 against sqrt(0.04)·0.75⁴, so the first is best and gets the best IoU as its target
    assert assigned.quality[0, 13].item() == pytest.approx(1)
    assert assigned.quality[0, 14].item() == pytest.approx(0.2 * 0.75**4 / 0.1, rel=1e-4)


def test_a_point_that_two_objects_want_goes_to_the_one_it_overlaps_more():
    targets = _targets([(0, 0, 32, 32), (8, 8, 48, 48)])
    boxes = torch.zeros(1, POINTS, 4)
    boxes[0, 13] = torch.tensor([8, 8, 44, 44])
    assigned = _assign(torch.full((1, POINTS, 1), 0.5), boxes, targets)
    assert assigned.target[0, 13].item() == 1
    assert assigned.positive[0, 13]


def test_points_outside_every_object_and_padding_are_background():
    targets = _targets([(0, 0, 32, 32)], [])
    assigned = _assign(torch.full((2, POINTS, 1), 0.5), torch.zeros(2, POINTS, 4), targets)
    assert (_centres()[assigned.positive[0]] < 32).all()
    assert not assigned.positive[1].any()
    assert assigned.quality[1].sum() == 0


def test_giou_by_hand():
    first = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [30, 0, 40, 10]])
    assert compact_loss.giou(first, second).tolist() == pytest.approx([1, 0, -0.5], abs=1e-5)
    assert compact_loss.iou(first, second).tolist() == pytest.approx([1, 0, 0], abs=1e-5)


def test_losses_without_any_object_are_finite_and_about_classes_only():
    model = detectors.build("compact", 1, seed=0)
    losses = model.losses(torch.zeros(2, 3, SIZE[1], SIZE[0]), _targets([], []))
    assert losses["boxes"].item() == losses["sides"].item() == 0
    assert losses["classes"].item() > 0
    sum(losses.values()).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_every_positive_point_lies_in_its_object_and_every_target_is_a_score(seed, objects):
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(objects, 2, generator=random) * 60
    boxes = torch.cat([corner, corner + 4 + torch.rand(objects, 2, generator=random) * 40], 1)
    targets = Targets(boxes[None], torch.zeros(1, objects, dtype=torch.long), torch.ones(1, objects, dtype=torch.bool))
    guesses = _centres().repeat(1, 2) + torch.tensor([-1, -1, 1, 1]) * torch.rand(POINTS, 4, generator=random) * 30
    assigned = _assign(torch.rand(1, POINTS, 1, generator=random), guesses[None], targets)
    own = boxes[assigned.target[0, assigned.positive[0]]]
    centres = _centres()[assigned.positive[0]]
    assert ((centres > own[:, :2]) & (centres < own[:, 2:])).all()
    assert (assigned.quality >= 0).all() and (assigned.quality <= 1 + 1e-5).all()
    assert torch.bincount(assigned.target[assigned.positive], minlength=objects).max() <= POINTS
