"""The likelihoods against scipy's, and a model that learns from them how far off it is where."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from activelearning.settings import LIKELIHOODS
from trainer.detectors.box_likelihood import LOG_STD_OF_SCALE, nll, soft_bounded

KINDS = tuple(LOG_STD_OF_SCALE)
DENSITY = {"laplace": (stats.laplace, math.log(2)), "gaussian": (stats.norm, 0.5 * math.log(2 * math.pi))}


def test_there_is_one_for_every_setting() -> None:
    assert set(KINDS) == set(LIKELIHOODS)


@pytest.mark.parametrize("kind", KINDS)
@given(st.floats(-20, 20), st.floats(-3, 3))
def test_it_is_the_densitys_but_for_the_constant(kind: str, error: float, log_scale: float) -> None:
    density, constant = DENSITY[kind]
    ours = nll(kind, torch.tensor(error, dtype=torch.float64), torch.tensor(log_scale, dtype=torch.float64))
    assert ours.item() + constant == pytest.approx(-density.logpdf(error, scale=math.exp(log_scale)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_standard_deviation_of_a_scale_is_the_distributions(kind: str) -> None:
    assert math.log(DENSITY[kind][0].std(scale=1)) == pytest.approx(LOG_STD_OF_SCALE[kind])


def errors_of(kind: str, scale: Tensor) -> Tensor:
    """Errors whose scale is known, and that lie as evenly as such errors can: their quantiles, shuffled."""
    quantiles = DENSITY[kind][0].ppf((np.arange(len(scale)) + 0.5) / len(scale))
    return torch.from_numpy(np.random.default_rng(0).permutation(quantiles)) * scale


def fitted(cost: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    optimiser = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = cost()
        loss.backward()
        return loss

    optimiser.step(closure)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_learns_how_far_off_it_is_where(kind: str) -> None:
    x = torch.linspace(-1, 1, 20_000, dtype=torch.float64)
    scale = torch.exp(0.8 * torch.sin(3 * x) - 1)
    truth = 2 * x + errors_of(kind, scale)
    features = torch.stack([torch.ones_like(x), x, torch.sin(3 * x)], 1)
    weight = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)

    def cost() -> Tensor:
        mean, raw = (features @ weight).unbind(1)
        return nll(kind, truth - mean, soft_bounded(raw)).mean()

    fitted(cost, [weight])
    mean, raw = (features @ weight).unbind(1)
    assert (soft_bounded(raw).exp() / scale - 1).abs().max() < 0.05 and (mean - 2 * x).abs().max() < 0.05
    # on average over all it says the standard deviation that there was
    std = torch.exp(soft_bounded(raw) + LOG_STD_OF_SCALE[kind])
    assert std.pow(2).mean().sqrt().item() == pytest.approx((truth - 2 * x).std().item(), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [-200.0, -3.0, 0.0, 3.0, 200.0])
def test_one_scale_is_that_of_the_errors_wherever_it_starts(kind: str, start: float) -> None:
    errors = errors_of(kind, torch.full((1001,), 3.0, dtype=torch.float64))
    raw = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(nll(kind, errors, soft_bounded(raw)).mean(), raw)[0]
    # too small a scale must grow, too large a one shrink, however far out
    assert gradient.isfinite() and gradient.sign() == (1 if start > 1.1 else -1)
    if abs(start) < 100:
        fitted(lambda: nll(kind, errors, soft_bounded(raw)).mean(), [raw])
        assert soft_bounded(raw).exp().item() == pytest.approx(3, rel=0.02)


@given(st.floats(-200, 200))
def test_scales_are_bounded_in_order_and_have_a_gradient_everywhere(value: float) -> None:
    raw = torch.tensor(value, requires_grad=True)
    bounded = soft_bounded(raw)
    bounded.backward()
    assert -8 < bounded.item() < 8 and bounded.item() * value >= 0
    assert raw.grad is not None and 0 < raw.grad.item() <= 1
    assert soft_bounded(torch.tensor(-value)).item() == -bounded.item()


def test_scales_near_zero_are_left_nearly_alone() -> None:
    assert soft_bounded(torch.tensor([-1.0, 0, 1])).tolist() == pytest.approx([-1, 0, 1], abs=0.01)
    assert soft_bounded(torch.tensor(1e4), limit=2.0).item() == pytest.approx(2)


@pytest.mark.parametrize("kind", KINDS)
def test_far_off_boxes_cost_no_infinity(kind: str) -> None:
    raw = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    cost = nll(kind, torch.tensor([1000.0, 1000.0, 0.0, 0.0]), soft_bounded(raw))
    cost.sum().backward()
    assert raw.grad is not None and cost.isfinite().all() and raw.grad.isfinite().all() and (raw.grad != 0).all()


def test_a_likelihood_that_there_is_none_of_fails() -> None:
    with pytest.raises(KeyError, match="cauchy"):
        nll("cauchy", torch.zeros(1), torch.zeros(1))
