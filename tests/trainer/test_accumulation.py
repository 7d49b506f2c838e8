from dataclasses import replace

import pytest
import torch
from torch import nn

from activelearning.errors import UserError
from tests.trainer import scenes
from tests.trainer.plain_detector import NumbDetector, PlainDetector, plain
from trainer import accumulation, training
from trainer.recipe import Plan

CONFIG = replace(scenes.CONFIG, batch_size=5)
PLAN = Plan(6, 1e-2)
EXAMPLES = (*scenes.scenes(6), scenes.scene(6, objects=0), scenes.scene(7, objects=1))


def _trained(model: nn.Module, config=CONFIG, **options) -> dict[str, torch.Tensor]:
    training.train(model, EXAMPLES, config, PLAN, **options)
    return model.state_dict()


def _alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(one, second[name], atol=1e-5) for name, one in first.items())


@pytest.mark.parametrize("per_object", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_a_batch_in_pieces_teaches_what_the_whole_batch_does(per_object, at_once):
    whole, pieces = plain(per_object=per_object), plain(per_object=per_object)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    learned = _trained(whole)
    assert not _alike(learned, before)
    assert _alike(_trained(pieces, replace(CONFIG, micro_batch=at_once)), learned)


def test_what_has_no_gradient_does_not_decay():
    assert torch.equal(_trained(plain())["unused"], torch.ones(2, 2))


def test_pieces_weigh_by_images_or_by_objects():
    valid = torch.tensor([[True, True, True], [False] * 3, [True, False, False], [True, True, False]])
    by_image = [(part.images, part.weight) for part in accumulation.parts(valid, slice(0, 4), 3, per_object=False)]
    assert by_image == [(slice(0, 3), 0.75), (slice(3, 4), 0.25)]
    by_object = [part.weight for part in accumulation.parts(valid, slice(0, 4), 1, per_object=True)]
    assert by_object == [3 / 6, 1 / 6, 1 / 6, 2 / 6]
    assert [part.weight for part in accumulation.parts(torch.zeros(2, 3, dtype=torch.bool), slice(0, 2), 1, per_object=True)] == [1, 1]


def test_a_batch_that_does_not_fit_into_memory_is_halved_and_told_once():
    told: list[str] = []
    learned = _trained(plain(room=2), tell=told.append)
    assert told == ["memory holds 2 images at once while training, so a step takes its batch in parts"]
    assert _alike(learned, _trained(plain()))


def test_an_image_that_does_not_fit_alone_is_said_to():
    with pytest.raises(UserError, match=r"not one image of .* fits into memory while training: lower detector.long_side"):
        _trained(plain(room=0))


def _numb(*steps: int) -> PlainDetector:
    model = plain(NumbDetector)
    model.numb = steps
    return model


def test_a_step_whose_loss_is_no_number_is_left_out():
    told: list[str] = []
    learned = _trained(_numb(2), tell=told.append)
    assert told == ["iteration 2: the loss or its gradient is no number, so the step is left out"]
    assert all(value.isfinite().all() for value in learned.values())
    assert not _alike(learned, _trained(plain()))


def test_when_the_loss_stays_no_number_the_run_ends():
    with pytest.raises(UserError, match=r"diverged at iteration 6 .* lower the learning rate"):
        _trained(_numb(2, 3, 4, 5, 6))
