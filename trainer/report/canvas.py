"""Figures of one look, drawn without a screen and without state: the same figure gives the same bytes, as SVG and as PNG.

Rule: a figure uses only the colours named here. Each is a variable of the SVG, so that it follows the reader's light or dark scheme.
"""

import base64
import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

LIGHT = {
    "surface": "#fffffe",
    "ink": "#1b2029",
    "muted": "#5d6675",
    "line": "#dfe2e7",
    "first": "#0b65b0",
    "second": "#c2530a",
    "faint": "#a9b1bd",
}
"""Colour by what it is for; `first` and `second` differ for every kind of colour vision, and in grey."""

DARK = {
    "surface": "#1a1e26",
    "ink": "#e9ecf1",
    "muted": "#9ea8b8",
    "line": "#343b48",
    "first": "#5fb0f2",
    "second": "#f29a55",
    "faint": "#646e7e",
}

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"
_DRAWN_FONT = "DejaVu Sans"
_PNG_DPI = 160
_STYLE: Mapping[Any, Any] = {
    "font.family": [_DRAWN_FONT],
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    # the names of classes come from outside: a dollar sign is a dollar sign
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "grid.color": LIGHT["line"],
    "axes.edgecolor": LIGHT["faint"],
    "axes.labelcolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "text.color": LIGHT["ink"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure under a name that is a file name too: `svg` for the page, `png` to take away."""

    name: str
    svg: str
    png: bytes

    @property
    def uri(self) -> str:
        """The SVG as a `data:` address."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@contextmanager
def style() -> Iterator[None]:
    """The look in which to make figures and to draw them."""
    # plain numbers and words only: `rc_context` restores what it found, whatever happens inside
    with mpl.rc_context(dict(_STYLE)), warnings.catch_warnings():
        # a PNG shows a box for a letter that its font lacks; a browser finds another font
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def axes(width: float = 4.4, height: float = 3.2, projection: str | None = None) -> Axes:
    """The only axes of a new figure of so many inches; its figure is `axes.figure`."""
    added: Axes = Figure(figsize=(width, height)).add_subplot(projection=projection)
    return added


def render(name: str, figure: Figure) -> Plot:
    """Draw a figure, inside `style`."""
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    figure.savefig(png, format="png", dpi=_PNG_DPI, facecolor=LIGHT["surface"], metadata={"Software": None})
    return Plot(name, _themed(svg.getvalue()), png.getvalue())


def _themed(svg: str) -> str:
    """The same drawing in the reader's fonts and colours, without the head that only a file needs."""
    for name, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = svg[svg.index("<svg") :].replace(f"'{_DRAWN_FONT}'", FONTS.replace("'", "&apos;"))
    end = svg.index(">") + 1
    return svg[:end] + f"<style>{scheme(':root')}</style>" + svg[end:]


def scheme(selector: str) -> str:
    """CSS that gives each colour its variable, light and dark."""
    light, dark = ("".join(f"--{name}:{colour};" for name, colour in colours.items()) for colours in (LIGHT, DARK))
    return f"{selector}{{{light}}}@media (prefers-color-scheme:dark){{{selector}{{{dark}}}}}"
