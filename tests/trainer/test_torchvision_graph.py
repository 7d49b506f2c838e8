import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainer import torchvision_models  # noqa: F401
from trainer.detectors import torchvision_graph as graph

from torchvision.ops import MultiScaleRoIAlign, box_iou, nms  # isort: skip


def _boxes(count: int, reach: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * reach
    half = torch.rand(count, 2, generator=generator) * 15 + 1
    return torch.cat([centre - half, centre + half], 1)


@given(count=st.integers(1, 80), reach=st.sampled_from([5.0, 30.0, 100.0]), iou=st.sampled_from([0.3, 0.5, 0.7]), seed=st.integers(0, 999))
def test_what_is_kept_is_what_torchvision_keeps(count, reach, iou, seed):
    boxes = _boxes(count, reach, seed)
    expected = nms(boxes, torch.arange(count, 0, -1).float(), iou)
    kept = graph.kept(boxes, torch.ones(count, dtype=torch.bool), iou)
    assert kept.nonzero()[:, 0].tolist() == expected.tolist()


def test_what_is_not_alive_neither_stays_nor_suppresses_and_classes_leave_each_other_alone():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [0, 0, 10, 9.5]]).expand(2, 4, 4)
    alive = torch.tensor([[False, True, True, True], [True, True, True, True]])
    labels = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 1]])
    kept = graph.kept(boxes, alive, 0.5, labels)
    assert kept.tolist() == [[False, True, False, False], [True, True, False, False]]


def test_a_chain_of_suppression_is_followed_as_far_as_is_said():
    # each box overlaps the next by 7/13 and the one after it by 4/16, so every other one stays
    chain = torch.tensor([[3.0 * at, 0, 3.0 * at + 10, 10] for at in range(graph.SWEEPS)])
    kept = graph.kept(chain, torch.ones(len(chain), dtype=torch.bool), 0.5)
    assert kept.tolist() == [at % 2 == 0 for at in range(len(chain))]


def test_regions_are_cut_out_as_torchvision_does():
    generator = torch.Generator().manual_seed(0)
    levels = [torch.rand(2, 5, 512 // stride, 640 // stride, generator=generator) for stride in (4, 8, 16, 32)]
    # of sizes that belong to all four levels, and some on the limits between them
    sides = torch.tensor([3.0, 60, 112, 150, 224, 300, 448, 500])
    boxes = torch.stack([torch.zeros_like(sides), torch.ones_like(sides), sides, sides + 1], 1).expand(2, -1, -1).clone()
    boxes[1, :, 0::2] += 7
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    expected = pool({str(at): level for at, level in enumerate(levels)}, list(boxes), [(512, 640)] * 2)
    assert torch.allclose(graph.pooled(levels, boxes, 7, 2), expected, atol=1e-6)


def test_the_best_pairs_are_the_best_of_all():
    scores = torch.rand(3, 50, 4, generator=torch.Generator().manual_seed(0))
    best, row, label = graph.pairs(scores, 20)
    assert torch.equal(best, scores.flatten(1).topk(20).values)
    assert torch.equal(best, scores[torch.arange(3)[:, None], row, label])


def test_patches_are_what_a_convolution_sees():
    generator = torch.Generator().manual_seed(0)
    levels = [torch.rand(2, 6, height, width, generator=generator) for height, width in ((4, 5), (2, 3), (1, 1))]
    conv = torch.nn.Conv2d(6, 3, 3, padding=1)
    everywhere = torch.cat([conv(level).flatten(2) for level in levels], 2).transpose(1, 2)
    points = torch.tensor([[0, 4, 7, 19, 20, 22, 25, 26], [26, 3, 12, 11, 21, 24, 15, 5]])
    patches = graph.patches(levels, points)
    said = torch.einsum("bmpf,kfp->bmk", patches, conv.weight.flatten(2)) + conv.bias
    assert torch.allclose(said, graph.picked(everywhere, points), atol=1e-6)


def test_boxes_without_area_overlap_nothing():
    points = torch.zeros(3, 4)
    assert graph.kept(points, torch.ones(3, dtype=torch.bool), 0.1).all()
    assert not graph.has_sides(points, 0.01).any()
    boxes = _boxes(6, 20, 0)
    np.testing.assert_allclose(graph._iou(boxes), box_iou(boxes, boxes), atol=1e-6)


@pytest.mark.parametrize(("box", "expected"), [([-5.0, 2, 200, 300], [0, 2, 128, 96]), ([130.0, 100, 140, 110], [128, 96, 128, 96])])
def test_boxes_are_clipped_to_the_images(box, expected):
    assert graph.clipped(torch.tensor(box), torch.zeros(1, 3, 96, 128)).tolist() == expected
