from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from trainer.detectors import full_dropout
from trainer.detectors.compact import CompactDetector

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


def compact() -> CompactDetector:
    torch.manual_seed(0)
    return CompactDetector(3).eval()


class Channels(nn.Module):
    """Ones behind a layer that may be dropped from."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer = layer
        self.shape = shape

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(torch.ones(self.shape))


class Ones(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        return features


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        self.layer(images)
        raise RuntimeError("broken on purpose")


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def sampled(model: nn.Module, rate: float = 0.3, samples: int = 4, seed: int = 7) -> tuple[Tensor, ...]:
    return full_dropout.sample(model, (IMAGES,), (nn.BatchNorm2d,), rate, samples, seed)


def test_without_dropout_every_sample_is_the_plain_network():
    model = compact()
    with torch.no_grad():
        plain = model(IMAGES)
    samples = sampled(model, rate=0.0, samples=3)
    assert len(samples) == len(plain) == 3
    for output, expected in zip(samples, plain, strict=True):
        assert output.shape == (3, *expected.shape)
        assert all(torch.equal(one, expected) for one in output)


def test_samples_differ_in_every_output_and_every_image():
    for output in sampled(compact()):
        for first, second in pairwise(output):
            assert ((first - second).abs().flatten(1).amax(1) > 1e-4).all()


def test_a_seed_gives_the_same_samples_and_few_are_the_first_of_many():
    many, few, other = sampled(compact()), sampled(compact(), samples=2), sampled(compact(), seed=8)
    assert all(torch.equal(a[:2], b) for a, b in zip(many, few, strict=True))
    assert not torch.equal(many[0], other[0])


def test_the_global_random_state_is_left_alone():
    model = compact()
    before = torch.get_rng_state()
    sampled(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_hooks_are_gone_afterwards_and_the_network_is_as_before():
    model = compact().train()
    model.pyramid.eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    sampled(model)
    assert hooks(model) == 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_hooks_are_gone_after_an_error_too():
    model = Broken().train()
    with pytest.raises(RuntimeError, match="on purpose"):
        full_dropout.sample(model, (IMAGES,), (nn.ReLU,), 0.1, 2, 0)
    assert hooks(model) == 0
    assert model.training


def test_hooks_are_there_while_it_lasts_one_a_layer_even_when_it_is_shared():
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.Identity(), shared)
    with full_dropout.dropout(model, (nn.ReLU, nn.Identity), 0.5, torch.Generator()):
        assert hooks(model) == 2
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("layer", "shape", "within_a_channel"),
    [
        (nn.ReLU(), (2, 500, 3, 4), (2, 3)),
        (nn.ReLU(), (2, 500), ()),
        (Ones(1, 1), (2, 500), ()),
        (Ones(1, 1), (2, 6, 500), (1,)),
        (nn.Identity(), (2, 500, 6), (2,)),
    ],
)
def test_whole_channels_of_an_image_are_dropped_and_the_rest_scaled(layer, shape, within_a_channel):
    (output,) = full_dropout.sample(Channels(layer, shape), (IMAGES,), (type(layer),), 0.2, 5, 0)
    assert torch.allclose(output[output > 0], torch.tensor(1.25))
    # 5000 channels: five standard errors of the share that is dropped
    assert abs((output == 0).float().mean().item() - 0.2) < 5 * (0.2 * 0.8 / 5000) ** 0.5
    for axis in within_a_channel:
        assert torch.equal(output.amin(axis + 1), output.amax(axis + 1))
    assert not torch.equal(output[:, 0], output[:, 1])


def test_on_average_a_linear_network_gives_the_plain_output():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))
    images = IMAGES / 255
    (output,) = full_dropout.sample(model, (images,), (nn.Conv2d,), 0.3, 2000, 0)
    error = output.std(0) / 2000**0.5
    assert ((output.mean(0) - model(images)).abs() < 4 * error).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_must_leave_something(rate):
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        sampled(compact(), rate=rate)


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(ValueError, match=r"CompactDetector has no layer of type SiLU, GELU"):
        full_dropout.sample(compact(), (IMAGES,), (nn.SiLU, nn.GELU), 0.1, 2, 0)
