import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from activelearning.errors import UserError
from activelearning.settings import Prediction, Training
from tests.trainer import scenes
from trainer import checkpoint, detectors, training
from trainer.augment import Affine, augment, move_boxes
from trainer.checkpoint import Checkpoint
from trainer.detectors import compact, pad_targets
from trainer.evaluation import evaluate
from trainer.ground_truth import GroundTruth
from trainer.recipe import Plan, Recipe
from trainer.training import Example, train
from trainer.weights import Weights, warm_start, weights_of

CONFIG = replace(scenes.CONFIG, checkpoint_every=2)
PLAN = Plan(6, 2e-3)


def _model() -> nn.Module:
    return detectors.build("compact", 2, seed=0)


def _train(examples=None, config=CONFIG, plan=PLAN, **options) -> nn.Module:
    examples = scenes.scenes() if examples is None else examples
    return train(_model(), examples, config, plan, **options)


def _same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def test_eight_scenes_are_learned_by_heart():
    examples, model = scenes.scenes(), scenes.trained()
    images = torch.from_numpy(np.stack([one.pixels for one in examples])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        outputs = [output.numpy() for output in model(images)]
    found = compact.decode(outputs, scenes.SIZE, Prediction())
    metrics = evaluate([GroundTruth(one.boxes, one.labels) for one in examples], found, scenes.CLASSES)
    assert metrics.value("ap50") > 0.95
    assert metrics.value("ap") > 0.6


def test_a_resumed_run_ends_in_the_very_same_weights():
    saved = []
    whole = _train(on_checkpoint=lambda checkpoint: saved.append(checkpoint.to_bytes()))
    assert [checkpoint.read(one).iteration for one in saved] == [2, 4]
    for one in saved:
        assert _same(_train(checkpoint=checkpoint.read(one)), whole)


def test_a_checkpoint_is_not_changed_by_the_run_that_resumes_from_it():
    saved = []
    whole = _train(on_checkpoint=saved.append)
    assert all(_same(_train(checkpoint=saved[0]), whole) for _ in range(2))


def test_what_on_checkpoint_raises_stops_the_run():
    class LeaseLost(Exception):
        pass

    def stop(checkpoint: Checkpoint) -> None:
        raise LeaseLost

    seen = []
    with pytest.raises(LeaseLost):
        _train(on_checkpoint=stop, on_progress=lambda progress: seen.append(progress.iteration))
    assert seen == [1, 2]


def test_another_seed_gives_other_weights():
    assert not _same(_train(plan=Plan(2, 2e-3)), _train(plan=Plan(2, 2e-3), config=replace(CONFIG, seed=1)))


def test_a_model_comes_back_ready_to_predict():
    assert not _train(plan=Plan(1, 2e-3)).training


@pytest.mark.parametrize("examples", [scenes.scenes()[:1], (scenes.scene(0, objects=0),), (scenes.scene(0, objects=0), scenes.scene(1))])
def test_few_images_and_images_without_objects_train(examples):
    losses = []
    _train(examples, plan=Plan(2, 2e-3), on_progress=lambda progress: losses.append(sum(progress.losses.values())))
    assert np.isfinite(losses).all()


def test_no_images_is_an_error():
    with pytest.raises(UserError, match="no labelled image"):
        _train(())


def test_a_diverging_run_says_what_to_do():
    with pytest.raises(UserError, match=r"diverged at iteration \d+ .* lower the learning rate"):
        _train(plan=Plan(6, 1e30))


def test_a_run_with_a_validation_share_resumes_into_the_very_same_weights():
    examples, plan = scenes.scenes(12), Plan(12, 2e-3, validation_share=0.25)
    saved, ends = [], []
    whole = _train(examples, CONFIG, plan, on_checkpoint=lambda one: saved.append(one.to_bytes()), on_progress=ends.append)
    assert ends[-1].iteration == ends[-1].iterations
    for one in saved:
        assert _same(_train(examples, CONFIG, plan, checkpoint=checkpoint.read(one)), whole)


def test_a_checkpoint_of_an_older_version_is_known_as_such():
    saved = []
    _train(plan=Plan(4, 2e-3), on_checkpoint=saved.append)
    old = io.BytesIO()
    torch.save({name: getattr(saved[0], name) for name in ("iteration", "model", "average", "optimizer")}, old)
    assert checkpoint.read(old.getvalue()) is None
    assert checkpoint.read(saved[0].to_bytes()) is not None


def test_a_run_that_learns_nothing_more_ends_before_its_budget():
    ends = []
    # with hardly any learning rate the loss cannot fall
    _train(scenes.scenes(12), CONFIG, Plan(60, 1e-9, 0.0, 0.25), on_progress=lambda progress: ends.append(progress.iteration))
    assert 5 < len(ends) < 30


def test_validation_images_are_not_learned_from_until_the_rate_falls(monkeypatch):
    seen: list[set[int]] = []
    drawn = training.sampling.batch_indices

    def note(*arguments):
        seen.append(set(drawn(*arguments)))
        return list(drawn(*arguments))

    monkeypatch.setattr(training.sampling, "batch_indices", note)
    _train(scenes.scenes(12), replace(CONFIG, batch_size=12), Plan(20, 2e-3, validation_share=0.25))
    watched = set(training.sampling.watched([1.0] * 12, 0.25, CONFIG.seed))
    assert len(watched) == 3
    assert not watched & set().union(*seen[:14])
    assert watched <= set().union(*seen[14:])


def test_multi_scale_draws_a_size_for_each_iteration_and_no_other_shape():
    sizes = [training.scaled_size((320, 256), 0.25, 7, iteration) for iteration in range(200)]
    assert sizes == [training.scaled_size((320, 256), 0.25, 7, iteration) for iteration in range(200)]
    assert {width for width, _ in sizes} == {256, 288, 320, 352, 384}
    assert {height for _, height in sizes} == {192, 224, 256, 288, 320}
    assert all(abs(width / height - 1.25) < 0.15 for width, height in sizes)
    assert {training.scaled_size((32, 32), 0.5, 7, iteration) for iteration in range(9)} <= {(32, 32), (64, 64)}
    assert training.scaled_size((320, 256), 0.0, 7, 1) == (320, 256)


def test_a_run_of_many_sizes_and_collages_resumes_into_the_very_same_weights():
    saved, plan = [], Plan(6, 2e-3, recipe=Recipe(multi_scale=0.4, mosaic=0.5, copy_paste=0.5))
    whole = _train(plan=plan, on_checkpoint=lambda one: saved.append(one.to_bytes()))
    assert not _same(whole, _train())
    assert all(_same(_train(plan=plan, checkpoint=checkpoint.read(one)), whole) for one in saved)


def test_a_checkpoint_of_another_network_is_said_to_be_one():
    saved = []
    _train(on_checkpoint=saved.append)
    with pytest.raises(UserError, match=r"checkpoint is of another network than project\.toml asks for now; delete it"):
        train(detectors.build("compact", 3, seed=0), scenes.scenes(), CONFIG, PLAN, checkpoint=saved[0])


def test_an_example_of_the_wrong_kind_is_refused():
    pixels, boxes, labels = np.zeros((8, 8, 3), np.uint8), np.zeros((1, 4), np.float32), np.zeros(1, np.int64)
    for wrong in ((pixels.astype(float), boxes, labels), (pixels, boxes, np.zeros(2, np.int64)), (pixels, boxes[:, :3], labels)):
        with pytest.raises(ValueError, match="must be"):
            Example(*wrong)


def test_boxes_move_with_the_image():
    targets = pad_targets([np.array([[0, 0, 10, 20]], np.float32)], [np.zeros(1, np.int64)])
    mirrored = move_boxes(targets, Affine(torch.tensor([[-1.0, 1.0]]), torch.zeros(1, 2)), (100, 80))
    assert mirrored.boxes[0, 0].tolist() == pytest.approx([90, 0, 100, 20])
    halved = move_boxes(targets, Affine(torch.full((1, 2), 0.5), torch.zeros(1, 2)), (100, 80))
    assert halved.boxes[0, 0].tolist() == pytest.approx([25, 20, 30, 30])
    shifted = move_boxes(targets, Affine(torch.ones(1, 2), torch.tensor([[-0.16, 0.0]])), (100, 80))
    assert shifted.boxes[0, 0].tolist() == pytest.approx([0, 0, 2, 20], abs=1e-4)
    assert not shifted.valid.any()


def test_augmented_boxes_still_surround_their_objects():
    config = Training(vertical_flip=True)
    examples = [scenes.scene(seed) for seed in range(20)]
    images = torch.from_numpy(np.stack([one.pixels for one in examples])).permute(0, 3, 1, 2).float()
    targets = pad_targets([one.boxes for one in examples], [one.labels for one in examples])
    moved, boxes = augment(images, targets, config, torch.Generator().manual_seed(0))
    assert boxes.valid.float().mean() > 0.7
    for image, corners, label, valid in zip(moved, boxes.boxes, boxes.labels, boxes.valid, strict=True):
        for (xmin, ymin, xmax, ymax), name in zip(corners[valid].round().int().tolist(), label[valid].tolist(), strict=True):
            red, _, blue = image[:, ymin + 2 : ymax - 2, xmin + 2 : xmax - 2].flatten(1).mean(1).tolist()
            assert (red > blue + 50) if name == 0 else (blue > red + 50)


def test_augmentation_repeats_from_the_same_generator_and_flips_only_when_allowed():
    images = torch.rand(4, 3, 32, 32) * 255
    targets = pad_targets([np.zeros((0, 4), np.float32)] * 4, [np.zeros(0, np.int64)] * 4)
    first, second = (augment(images, targets, CONFIG, torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert torch.equal(first, second)
    left = torch.zeros(64, 3, 32, 32)
    left[..., :8] = 255
    targets = pad_targets([np.zeros((0, 4), np.float32)] * 64, [np.zeros(0, np.int64)] * 64)
    plain = augment(left, targets, Training(horizontal_flip=False), torch.Generator().manual_seed(0))[0]
    assert (plain[..., :16].mean((1, 2, 3)) > plain[..., 16:].mean((1, 2, 3))).all()
    flipped = augment(left, targets, Training(), torch.Generator().manual_seed(0))[0]
    assert 10 < (flipped[..., :16].mean((1, 2, 3)) < flipped[..., 16:].mean((1, 2, 3))).sum() < 54


def _outputs(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(scenes.scene(0).pixels).permute(2, 0, 1)[None].float())[0]


def test_a_warm_start_takes_over_the_last_model():
    weights = Weights.from_bytes(weights_of(scenes.trained(), "compact", scenes.CLASSES).to_bytes())
    fresh = detectors.build("compact", 2, seed=9)
    assert "all weights" in warm_start(fresh, weights, "compact", scenes.CLASSES)
    assert torch.allclose(_outputs(fresh), _outputs(scenes.trained()), atol=1e-4)


@pytest.mark.parametrize("classes", [("square", "bar", "disc"), ("bar", "square")])
def test_with_other_classes_only_the_class_layer_stays_fresh(classes):
    weights = weights_of(scenes.trained(), "compact", scenes.CLASSES)
    fresh, model = (detectors.build("compact", len(classes), seed=9) for _ in range(2))
    assert "but the class layer" in warm_start(model, weights, "compact", classes)
    kept = {name for name, value in model.state_dict().items() if not torch.equal(value, fresh.state_dict()[name])}
    assert not any(name.startswith("classify") for name in kept)
    assert torch.equal(model.state_dict()["regress.weight"], weights.state["regress.weight"])


def test_weights_that_do_not_fit_are_refused_with_advice():
    weights = weights_of(_model(), "compact", scenes.CLASSES)
    with pytest.raises(UserError, match="family 'other', not 'compact'"):
        warm_start(_model(), replace(weights, family="other"), "compact", scenes.CLASSES)
    with pytest.raises(UserError, match="do not fit this version"):
        warm_start(_model(), replace(weights, state={"unknown": torch.zeros(1)}), "compact", scenes.CLASSES)


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


def test_a_foreign_file_is_not_executed():
    archive = io.BytesIO()
    torch.save({"family": _Bomb()}, archive)
    for content in (archive.getvalue(), pickle.dumps(_Bomb(), protocol=2), b"", b"PK\x03\x04 no archive"):
        with pytest.raises(UserError, match="damaged; train from scratch"):
            Weights.from_bytes(content)
        with pytest.raises(UserError, match="damaged or of another version; delete it"):
            checkpoint.read(content)


def test_progress_tells_each_iteration_and_its_losses():
    seen = []
    _train(plan=Plan(2, 2e-3), on_progress=seen.append)
    assert [(one.iteration, one.iterations) for one in seen] == [(1, 2), (2, 2)]
    assert set(seen[0].losses) == {"classes", "boxes", "sides"}
    assert isinstance(seen[0], training.Progress)
