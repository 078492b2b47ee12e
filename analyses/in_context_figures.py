"""How errors by number of examples are drawn: the model bold, baselines thin and dashed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from analyses.layout import DASHES, MUTED, PALETTE, line, words
from analyses.multiples import Trace, band, multiples
from analyses.plots import Figure

TOP = 1.5  # errors up to here are shown, and all of the model's


def curves_figure(
    groups: Sequence[str],
    curves: Sequence[str],
    values: tuple[Float[np.ndarray, "group curve examples"], ...],
    *,
    title: str,
    unit: str,
) -> Figure:
    """A panel a group: errors against the number of examples.

    Args:
        groups: Headings of the panels.
        curves: The model first.
        values: Errors, and the lower and upper ends of their intervals.
        title: What is seen.
        unit: Of the ordinate.
    """
    errors = values[0]
    panels = {
        group: [
            *_baselines(curves, errors[index]),
            *_model(errors[index, 0], values[1][index, 0], values[2][index, 0], curves[0]),
        ]
        for index, group in enumerate(groups)
    }
    finite = errors[np.isfinite(errors)]
    top = min(float(finite.max(initial=0)), max(TOP, float(np.nanmax(errors[:, 0], initial=0))))
    axes = ("examples before the answer", unit)
    return multiples(panels, title=title, axes=axes, yaxis={"range": [0, 1.05 * top]})


def heading_of(k: int, error: float) -> str:
    """What the model's curve comes to."""
    return f"Error after {k} examples: {error:.3g}"


def _model(errors: np.ndarray, low: np.ndarray, high: np.ndarray, name: str) -> list[Trace]:
    examples = np.arange(len(errors))
    bold = {"color": PALETTE[0], "width": 4}
    return [band(examples, (low, high), f"{name}, band"), line(examples, errors, name, bold)]


def _baselines(curves: Sequence[str], errors: Float[np.ndarray, "curve examples"]) -> list[Trace]:
    examples, drawn = np.arange(errors.shape[1]), []
    for index, name in enumerate(curves[1:]):
        style = {"color": PALETTE[1 + index % 6], "dash": DASHES[1 + index % 4], "width": 2}
        style = {"color": MUTED, "width": 1} if name == "zero" else style
        drawn.append(line(examples, errors[index + 1], words(name), style))
    return drawn
