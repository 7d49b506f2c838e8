"""Toy-sized networks of the families with object queries, trained briefly on the drawn scenes, for their tests.

Each is made once a process, for its tests share it; whoever changes one makes its own.
"""

from dataclasses import replace
from functools import cache

from torch import nn

from tests.trainer import scenes
from trainer import detectors, export, run_lengths, training
from trainer.detectors import MASKS
from trainer.recipe import Plan, Recipe
from trainer.training import Example

BOXES = ("rfdetr-small", "dfine-nano", "rtdetrv2-r18")
FAMILIES = (*BOXES, "rfdetr-seg-small")
# before that their best cells tie, and which of them become queries is a matter of rounding
_ITERATIONS = {"dfine-nano": 40, "rtdetrv2-r18": 40}
_RECIPE = Recipe(ema_decay=0.9)
CONFIG = replace(scenes.CONFIG, horizontal_flip=False)


def build(name: str, classes: int = 2, seed: int = 0) -> nn.Module:
    """A fresh one."""
    return detectors.build(name, classes, seed, tiny=True)


@cache
def examples(name: str, count: int = 8) -> tuple[Example, ...]:
    """The scenes, with masks for a family that draws them: their objects fill their boxes."""
    plain = scenes.scenes(count)
    if detectors.family(name).draws != MASKS:
        return plain
    return tuple(replace(one, masks=tuple(run_lengths.of_box(box, scenes.SIZE) for box in one.boxes)) for one in plain)


@cache
def trained(name: str) -> nn.Module:
    """One that has learned the scenes a little."""
    return training.train(build(name), examples(name), CONFIG, Plan(_ITERATIONS.get(name, 16), 5e-4, small_share=0.2, recipe=_RECIPE))


@cache
def onnx(name: str) -> bytes:
    """`trained` as ONNX."""
    return export.export(trained(name), name, scenes.SIZE)
