import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.distance import jensenshannon

from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import drafts
from trainer.consistency import MOST, consistency, jensen_shannon, mirrored
from trainer.detections import Detections, no_detections
from trainer.predictor import Predicted, Predictor


def found(*rows: tuple[tuple[float, float, float, float], tuple[float, float]]) -> Detections:
    scores = np.array([row[1] for row in rows], np.float32).reshape(-1, 2)
    return Detections(np.array([row[0] for row in rows], np.float32).reshape(-1, 4), scores.max(1), scores.argmax(1), scores)


def test_a_box_found_again_exactly_and_surely_is_as_consistent_as_can_be() -> None:
    one = found(((0, 0, 10, 10), (1, 0)))
    assert consistency(one, one).tolist() == [MOST]


def test_the_formula_by_hand() -> None:
    one, again = found(((0, 0, 10, 10), (0.8, 0.2))), found(((0, 0, 10, 5), (0.4, 0.6)), ((50, 50, 60, 60), (0.9, 0.0)))
    # overlap 0.5; (0.8, 0.2, 0.2) / 1.2 against (0.4, 0.6, 0.4) / 1.4; best scores 0.8 and 0.6
    divergence = jensenshannon([0.8, 0.2, 0.2], [0.4, 0.6, 0.4], base=2) ** 2
    assert consistency(one, again).tolist() == pytest.approx([0.5 + 0.7 * (1 - divergence)], abs=1e-6)


def test_what_nothing_overlaps_is_not_consistent_at_all() -> None:
    one, far = found(((0, 0, 10, 10), (0.8, 0.2))), found(((50, 50, 60, 60), (0.8, 0.2)))
    assert consistency(one, far).tolist() == [0]
    assert consistency(one, no_detections(2)).tolist() == [0]
    assert consistency(no_detections(2), one).shape == (0,)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5))
def test_the_divergence_is_that_of_scipy(seed: int, rows: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    first, second = (random.dirichlet(np.full(classes + 1, 0.5), rows) for _ in range(2))
    assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, base=2, axis=1) ** 2, abs=1e-6)


def test_mirrored_twice_is_the_same() -> None:
    one = found(((3, 5, 10, 20), (0.8, 0.2)), ((0, 0, 100, 50), (0.1, 0.7)))
    assert mirrored(one, 100).xyxy.tolist() == [[90, 5, 97, 20], [0, 0, 100, 50]]
    assert np.array_equal(mirrored(mirrored(one, 100), 100).xyxy, one.xyxy)


def test_a_predictor_that_looks_at_the_mirror_image_finds_known_objects_again_and_tells_the_table() -> None:
    file = io.BytesIO()
    Image.fromarray(scenes.scenes()[0].pixels).save(file, "PNG")
    settings_, images = Prediction(min_confidence=0.3), [("a.png", file.getvalue())]
    [plain] = Predictor(scenes.onnx(), "compact", settings_, threads=1).predict(images)
    [seen] = Predictor(scenes.onnx(), "compact", settings_, threads=1, mirror=True).predict(images)
    assert isinstance(plain, Predicted) and isinstance(seen, Predicted)
    assert np.array_equal(plain.detections.xyxy, seen.detections.xyxy) and plain.detections.consistency is None
    assert seen.detections.consistency is not None and len(seen.detections) >= 3
    # trained with flips, so what was learned by heart is found on both sides
    assert np.sort(seen.detections.consistency)[-2] > 1.2
    measures = [dict(box.measures) for box in drafts.image_labels(seen, scenes.CLASSES).boxes]
    assert [one["consistency"] for one in measures] == pytest.approx(seen.detections.consistency, abs=1e-3)
    assert all("consistency" not in dict(box.measures) for box in drafts.image_labels(plain, scenes.CLASSES).boxes)
