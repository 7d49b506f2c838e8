"""What a run goes by, and at which rate each of a network's weights learns."""

import pytest
import torch
from torch import nn

from activelearning.settings import Training
from tests.trainer.plain_detector import plain
from trainer import optimizer
from trainer.recipe import Plan, Recipe, plan

OWN = Recipe(learning_rate=1e-4, warm_learning_rate=5e-5, small_share=0.2, multi_scale=0.25, mosaic=0.5)


@pytest.mark.parametrize(
    ("settings", "warm", "expected"),
    [
        (Training(), False, Plan(1500, 1e-4, 0.2, 0.0, OWN)),
        (Training(validation_share=0.1), True, Plan(700, 5e-5, 0.0, 0.0, OWN)),
        (Training(iterations=30, validation_share=0.1), False, Plan(30, 1e-4, 0.2, 0.1, OWN)),
    ],
)
def test_where_the_project_says_nothing_the_family_does(settings, warm, expected):
    assert plan(settings, OWN, warm) == expected


def test_what_the_project_says_comes_first_and_no_share_is_a_share_too():
    settings = Training(learning_rate=0.01, warm_learning_rate=0.02, multi_scale=0.0, mosaic=0.0, copy_paste=0.3)
    found = plan(settings, OWN, warm=False)
    assert (found.learning_rate, plan(settings, OWN, warm=True).learning_rate) == (0.01, 0.02)
    assert (found.recipe.multi_scale, found.recipe.mosaic, found.recipe.copy_paste) == (0.0, 0.0, 0.3)


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"ema_decay": 1.5}, {"mosaic": -0.1}, {"clip_norm": float("nan")}])
def test_a_recipe_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_each_layer_of_the_backbone_learns_slower_than_the_one_above():
    names = ("head.weight", "body.0.weight", "body.1.weight", "body.10.weight", "stem.bias", "stemming.weight")
    found = optimizer.scales(names, ("stem", "body.0", "body.1"), Recipe(backbone_rate=0.1, layer_decay=0.5))
    assert found == pytest.approx(
        {
            "head.weight": 1.0,
            "body.0.weight": 0.05,
            "body.1.weight": 0.1,
            "body.10.weight": 1.0,
            "stem.bias": 0.025,
            "stemming.weight": 1.0,
        }
    )


def test_of_two_layers_that_a_name_begins_with_the_longer_one_counts():
    found = optimizer.scales(("body.top.weight", "body.weight"), ("body", "body.top"), Recipe(backbone_rate=0.1, layer_decay=0.5))
    assert found == pytest.approx({"body.top.weight": 0.1, "body.weight": 0.05})


def test_groups_learn_at_their_rate_and_only_matrices_decay():
    model = plain()
    model.body[2].bias.requires_grad_(False)
    groups = optimizer.groups(model, Recipe(weight_decay=0.04, backbone_rate=0.1, layer_decay=0.5))
    names = {id(weight): name for name, weight in model.named_parameters()}
    found = {(group.scale, group.weight_decay): [names[id(weight)] for weight in group.weights] for group in groups}
    assert found == {
        (1.0, 0.04): ["unused", "head.weight"],
        (1.0, 0.0): ["head.bias"],
        (0.05, 0.04): ["stem.weight"],
        (0.05, 0.0): ["stem.bias"],
        (0.1, 0.04): ["body.2.weight"],
        (0.1, 0.0): ["body.0.weight", "body.0.bias"],
    }


def test_what_a_transformer_learns_beside_its_maps_does_not_decay():
    model = nn.Module()
    model.cls_token, model.matrix = nn.Parameter(torch.zeros(1, 1, 4)), nn.Parameter(torch.zeros(4, 4))
    model.pos_embed = nn.Parameter(torch.zeros(1, 9, 4))
    assert [(group.weight_decay, len(group.weights)) for group in optimizer.groups(model, Recipe())] == [(0.05, 1), (0.0, 2)]


def test_a_backbone_that_is_not_there_is_noticed():
    slow = Recipe(backbone_rate=0.1)
    with pytest.raises(ValueError, match="Linear names no backbone_layers"):
        optimizer.groups(nn.Linear(2, 2), slow)
    with pytest.raises(ValueError, match="no weight belongs to layer"):
        optimizer.scales(("stem.weight",), ("stem", "layer"), slow)
