"""Several looks at one image made one answer: golden values by hand."""

import numpy as np
import pytest

from trainer import looks
from trainer.detections import Detections
from trainer.masks import Masks
from trainer.spread import Spread


def found(*boxes: tuple[float, ...], masks: Masks | None = None, spread: Spread | None = None) -> Detections:
    """Detections (xmin, ymin, xmax, ymax, confidence, class) of two classes."""
    rows = np.array(boxes, np.float32).reshape(-1, 6)
    label = rows[:, 5].astype(np.int64)
    scores = np.zeros((len(rows), 2), np.float32)
    scores[np.arange(len(rows)), label] = rows[:, 4]
    return Detections(rows[:, :4], rows[:, 4], label, scores, masks=masks, spread=spread)


def test_fusion_weighs_boxes_by_confidence_and_takes_the_mean_of_confidences() -> None:
    # (.9 · 0 + .6 · 3) / 1.5 = 1.2; (.9 + .6) / 2 = .75
    made = looks.fused([found((0, 0, 10, 10, 0.9, 0)), found((3, 0, 13, 10, 0.6, 0))], 10)
    assert len(made) == 2, "overlap 7 / 13 = .54 is below .55"
    made = looks.fused([found((0, 0, 20, 10, 0.9, 0)), found((3, 0, 23, 10, 0.6, 0))], 10)
    assert made.xyxy.tolist() == pytest.approx(np.array([[1.2, 0, 21.2, 10]]))
    assert made.confidence.tolist() == pytest.approx([0.75]) and made.class_scores[0].tolist() == pytest.approx([0.75, 0])


def test_a_box_that_one_of_three_looks_finds_counts_a_third() -> None:
    made = looks.fused([found((0, 0, 20, 10, 0.9, 0)), found(), found((50, 50, 60, 60, 0.6, 1))], 10)
    assert made.confidence.tolist() == pytest.approx([0.3, 0.2]) and made.class_id.tolist() == [0, 1]


def test_classes_are_not_fused_with_one_another_and_only_the_best_are_kept() -> None:
    made = looks.fused([found((0, 0, 20, 10, 0.9, 0)), found((0, 0, 20, 10, 0.8, 1))], 10)
    assert made.class_id.tolist() == [0, 1] and made.confidence.tolist() == pytest.approx([0.45, 0.4])
    assert looks.fused([found((0, 0, 20, 10, 0.9, 0)), found((0, 0, 20, 10, 0.8, 1))], 1).class_id.tolist() == [0]


def test_the_most_confident_look_tells_the_rest() -> None:
    one = Spread(*(np.full(shape, 1, np.float32) for shape in ((1, 4), (1, 4), (1, 2), (1,))))
    other = Spread(*(np.full(shape, 2, np.float32) for shape in ((1, 4), (1, 4), (1, 2), (1,))))
    made = looks.fused([found((0, 0, 20, 10, 0.5, 0), spread=one), found((0, 0, 20, 10, 0.6, 0), spread=other)], 10)
    assert made.spread is not None and made.spread.mutual_information.tolist() == [2]


def test_one_look_is_left_as_it_is_and_nothing_gives_nothing() -> None:
    only = found((0, 0, 20, 10, 0.5, 0))
    assert looks.fused([only], 10) is only
    assert len(looks.fused([found(), found()], 10)) == 0


@pytest.mark.parametrize(
    ("axes", "box", "corners"),
    [((), [10, 20, 30, 60], [1, 2, 3, 4]), ((1,), [70, 20, 90, 60], [3, 2, 1, 4]), ((0,), [10, 20, 30, 60], [1, 4, 3, 2])],
)
def test_what_a_mirror_image_shows_is_put_where_it_is_in_the_image(axes: tuple[int, ...], box: list[float], corners: list[float]) -> None:
    """In an image of 100 × 80; the deviation of a corner goes with its corner, and a mask with its pixels."""
    grid = np.arange(4, dtype=np.float32).reshape(1, 2, 2) / 4
    corner = np.array([[1, 2, 3, 4]], np.float32)
    spread = Spread(corner, corner, np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
    given = found((10, 20, 30, 60, 0.5, 0), masks=Masks(grid, np.array([[10, 20, 30, 60]], np.float32)), spread=spread)
    made = looks.flipped(given, axes, (100, 80))
    assert made.xyxy.tolist() == [box]
    assert isinstance(made.masks, Masks) and made.masks.frames.tolist() == [box]
    assert np.array_equal(made.masks.grids[0], np.flip(grid[0], axes))
    assert made.spread is not None and made.spread.aleatoric.tolist() == [corners] and made.spread.epistemic.tolist() == [corners]
