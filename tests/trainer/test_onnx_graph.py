"""The exporter with axes of any length, and how it is kept quiet."""

import logging
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from trainer import onnx_graph
from trainer.predictor import open_session


class Product(nn.Module):
    """A layer's answers times a factor a row, and the answers; its dropout is for training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, features: Tensor, factors: Tensor, further: Tensor) -> tuple[Tensor, Tensor]:
        answers = self.dropout(self.layer(features))
        return answers * factors, answers + further.sum(0)


INPUTS = {"features": "rows", "factors": "rows", "further": "samples"}


def test_chosen_axes_are_of_any_length_and_the_module_stays_as_it_was() -> None:
    torch.manual_seed(0)
    module, level = Product(), logging.getLogger("torch.onnx").level
    content = onnx_graph.to_onnx(module, (torch.ones(3, 3), torch.ones(3, 1), torch.ones(4, 2)), INPUTS, ("product", "sum"))
    assert module.training and next(module.parameters()).requires_grad and logging.getLogger("torch.onnx").level == level
    session = open_session(content)
    assert [one.name for one in session.get_inputs()] == list(INPUTS) and [one.name for one in session.get_outputs()] == ["product", "sum"]
    for rows, samples in ((1, 1), (5, 2), (2, 9)):
        given = torch.rand(rows, 3), torch.rand(rows, 1), torch.rand(samples, 2)
        wanted = module.eval()(*given)
        found = session.run(None, {name: one.numpy() for name, one in zip(INPUTS, given, strict=True)})
        assert all(np.allclose(one, other.detach(), atol=1e-6) for one, other in zip(found, wanted, strict=True))


def test_quiet_is_over_afterwards_even_after_an_error() -> None:
    logger = logging.getLogger("torch.onnx")
    level, filters = logger.level, list(warnings.filters)
    try:
        with onnx_graph.quiet_exporter():
            assert logger.level == logging.ERROR
            raise RuntimeError("an export that failed")
    except RuntimeError:
        assert logger.level == level and list(warnings.filters) == filters
