"""A matrix over the Fourier components of two operands, drawn square with a tick a frequency."""

from typing import Any

import numpy as np
from jaxtyping import Float

from analyses import plots
from analyses.fourier.basis import basis_names
from analyses.plots.style import MARGIN

MOST = 10  # ticks along a side that a telephone bears


def frequency_map(norms: Float[np.ndarray, "n n"], *, title: str, unit: str) -> plots.Figure:
    """A heat map of components as `basis_names` orders them, first operand down."""
    names, sides = basis_names(len(norms)), frequency_ticks(len(norms))
    axes = ("frequency in b (cos, sin)", "frequency in a (cos, sin)")
    figure = plots.heatmap(norms, title=title, axes=axes, unit=unit, ticks=(names, names))
    sides |= {"constrain": "domain"}
    figure.update_layout(height=plots.HEIGHT + 60, margin=MARGIN)  # names are hovered over only
    return figure.update_xaxes(sides).update_yaxes(sides, scaleanchor="x")


def frequency_ticks(n: int) -> dict[str, Any]:
    """One tick a frequency, or every second, fifth, tenth, on an axis of `basis_names`.

    Each stands between its cosine and its sine, that of frequency 0 at the constant.
    """
    last = n // 2
    apart = next(each for each in (1, 2, 5, 10, 20, 50, last) if last / each <= MOST)
    shown = range(0, last + 1, apart)
    places = [min(max(2 * frequency - 0.5, 0), n - 1) for frequency in shown]
    return {"tickmode": "array", "tickvals": places, "ticktext": [str(each) for each in shown]}
