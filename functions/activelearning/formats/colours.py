"""One colour per class, the same in every tool."""

import colorsys
from collections.abc import Sequence

_GOLDEN_TURN = 0.618033988749895


def palette(classes: Sequence[str]) -> dict[str, str]:
    """`#rrggbb` by class. The n-th class has always the same colour; hues stay far apart however many there are (golden angle)."""
    return {name: _colour(index) for index, name in enumerate(classes)}


def _colour(index: int) -> str:
    rgb = colorsys.hls_to_rgb((0.33 + index * _GOLDEN_TURN) % 1.0, 0.55 if index % 2 else 0.45, 0.85)
    return "#" + "".join(f"{round(part * 255):02x}" for part in rgb)
