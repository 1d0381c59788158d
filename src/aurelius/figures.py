"""Figures as SVG that reads without seeing it, is the same each time, and follows the page's font."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#30638e", "#d1495b", "#edae49", "#00798c", "#7a5195", "#5c8001")
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "aurelius",  # ids would be random
    "svg.fonttype": "none",  # text stays text
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


@contextmanager
def new_figure(width: float, height: float) -> Iterator["Figure"]:
    """Give an empty figure of ``width`` by ``height`` inches, in our style. Needs no display."""
    import matplotlib
    from cycler import cycler
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def to_svg(figure: "Figure", title: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element with a text alternative (SVG 2, ``title`` and ``desc``).

    Call it inside `new_figure`, whose settings it needs.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    start = text.index("<svg")
    body = text[text.index(">", start) + 1 :]
    opening = text[start : text.index(">", start)]
    words = f"<title>{escape(title)}</title>\n<desc>{escape(description)}</desc>"
    return f'{opening} role="img">\n{words}{body}'
