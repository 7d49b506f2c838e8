import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.query.diversity_prototypes import diverse_prototypes, entropy_nms, image_entropy
from trainer.query.objects import Objects, no_objects

CLASSES = ("often", "rare")
Row = tuple[tuple[float, ...], int, float]


def objects(*images: list[Row], confidence: float = 0.9, width: int = 2) -> Objects:
    """Of each image its objects: feature, class, entropy."""
    rows = [row for image in images for row in image]
    return Objects(
        np.cumsum([0, *map(len, images)]),
        np.array([row[0] for row in rows], np.float16).reshape(-1, width),
        np.array([row[1] for row in rows], np.int32),
        np.full(len(rows), confidence, np.float32),
        np.array([row[2] for row in rows], np.float32),
        CLASSES,
    )


def test_of_two_alike_objects_of_a_class_the_less_uncertain_goes() -> None:
    # the second is like the first (cosine 0.8), the third is not (0.0), the fourth is of another class
    image: list[Row] = [((1, 0), 0, 0.4), ((4, 3), 0, 0.6), ((0, 1), 1, 0.1), ((1, 0), 1, 0.2)]
    found = objects(image, [], image[:1])
    stays = entropy_nms(found)
    assert stays.tolist() == [False, True, True, True, True]
    assert image_entropy(found, stays).tolist() == pytest.approx([0.9, 0, 0.4])
    assert entropy_nms(found, threshold=0.9).all()


def test_what_was_removed_removes_nothing_and_equals_go_by_place() -> None:
    # the first is like the second (0.8), and that like the third (0.8), but the first not like the third (0.28)
    chain: list[Row] = [((1, 0), 0, 0.9), ((4, 3), 0, 0.8), ((7, 24), 0, 0.7)]
    assert entropy_nms(objects(chain)).tolist() == [True, False, True]
    assert entropy_nms(objects([((1, 0), 0, 0.5), ((1, 0), 0, 0.5)])).tolist() == [True, False]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 6), max_size=6))
def test_it_is_greedy_suppression_by_entropy(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    images = [[(tuple(random.normal(size=3)), int(random.integers(2)), float(random.random())) for _ in range(size)] for size in sizes]
    drawn = objects(*images, width=3)
    wanted = np.zeros(len(drawn.confidence), bool)
    for image in range(len(sizes)):
        kept: list[int] = []
        for row in sorted(range(drawn.offsets[image], drawn.offsets[image + 1]), key=lambda row: -drawn.entropy[row]):
            f = drawn.features[row].astype(np.float32)
            rivals = [drawn.features[other].astype(np.float32) for other in kept if drawn.class_id[other] == drawn.class_id[row]]
            if all(f @ g / np.linalg.norm(f) / np.linalg.norm(g) <= 0.5 for g in rivals):
                kept.append(row)
        wanted[kept] = True
    assert entropy_nms(drawn).tolist() == wanted.tolist()


def chosen(every: Objects, count: int, labelled: dict[str, int] | None = None) -> list[int]:
    scores = image_entropy(every, entropy_nms(every))
    return diverse_prototypes(scores, every.at, labelled or {}, count).order.tolist()


def test_an_image_like_a_chosen_one_is_passed_over() -> None:
    every = objects([((1, 0), 0, 0.9)], [((4, 3), 0, 0.8)], [((0, 1), 0, 0.7)])
    assert chosen(every, 2) == [0, 2, 1]


def test_an_image_is_new_by_any_of_its_classes() -> None:
    same_and_new: list[Row] = [((1, 0), 0, 0.5), ((1, 0), 1, 0.3)]
    assert chosen(objects([((1, 0), 0, 0.9)], same_and_new, [((1, 0), 0, 0.7)]), 2, {"often": 1, "rare": 1})[:2] == [0, 1]


def test_a_prototype_is_the_mean_weighted_by_entropy() -> None:
    # 0.9 · (1, 0) + 0.3 · (0, 1): cosine 0.949 to (1, 0), 0.316 to (0, 1)
    mixed: list[Row] = [((1, 0), 0, 0.9), ((0, 1), 0, 0.3)]
    assert chosen(objects(mixed, [((1, 0), 0, 0.8)], [((0, 1), 0, 0.7)]), 2) == [0, 2, 1]


def test_three_of_four_images_hold_a_minority_class_in_every_prefix_while_there_are_any() -> None:
    angles = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    often: list[list[Row]] = [[((np.cos(a), np.sin(a)), 0, 0.9 - 0.01 * n)] for n, a in enumerate(angles)]
    rare: list[list[Row]] = [[((np.cos(a), np.sin(a)), 1, 0.5 - 0.01 * n)] for n, a in enumerate(angles)]
    order = chosen(objects(*often, *rare), 8, {"often": 90, "rare": 3})
    holds_rare = np.array([image >= 6 for image in order[:8]])
    for prefix in range(1, 9):
        assert (~holds_rare[:prefix]).sum() <= prefix / 4
    assert (~holds_rare).sum() == 2


def test_a_minority_class_seen_with_little_confidence_does_not_count() -> None:
    doubtful = objects([((1, 0), 0, 0.9)], [((1, 0), 1, 0.8)], confidence=0.2)
    assert chosen(doubtful, 2, {"often": 9, "rare": 1}) == [0, 1]


def test_images_without_objects_come_last_by_index() -> None:
    assert chosen(objects([], [((1, 0), 0, 0.2)], []), 3) == [1, 0, 2]
    assert chosen(no_objects(0), 3) == []
