"""One look for all figures, whatever the user's matplotlib settings, and figures as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["svg", "png", "pdf"]

# After Okabe and Ito, without their yellow: told apart with any colour vision, by markers in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5D3A9B", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DOTS = 200  # an inch, in PNG
GREY = "#6E6E6E"
INK = "#222222"

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that no machine draws another one
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8A8A8A",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": "#8A8A8A",
    "ytick.color": "#8A8A8A",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "lines.markersize": 5.0,
    "lines.markeredgewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.8,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.3,
    "legend.handletextpad": 0.6,
    "legend.borderpad": 0.2,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "oodml",
    "pdf.fonttype": 42,
}
# Without dates, the same figure has the same bytes; without the rest, an SVG names no other site.
_METADATA: dict[Kind, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in oodml's style; the settings outside are untouched and do not shine through."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all: what is settled does not move when it is drawn again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def figure_bytes(figure: Figure, kind: Kind) -> bytes:
    """The figure as a file of this kind; the same figure gives the same bytes.

    Text is drawn as paths in SVG, so that it looks alike everywhere; PNG has 200 dots an inch.
    """
    if kind not in _METADATA:
        raise ValueError(f"A figure cannot be {kind!r}; expected one of {', '.join(_METADATA)}.")
    stream = BytesIO()
    with styled():
        figure.savefig(stream, format=kind, dpi=DOTS, metadata=_METADATA[kind])
    return stream.getvalue()
