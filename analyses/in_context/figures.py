"""How errors by number of examples are drawn: the model bold, baselines thin and dashed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from analyses.plots.figures import Figure
from analyses.plots.panels import Trace, band, multiples
from analyses.plots.style import DASHES, MUTED, PALETTE, line, words

TOP = 1.5  # errors up to here are shown, and all of the model's with their band


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
    reach = np.fmax(errors[:, 0], values[2][:, 0])  # of the model and its band
    most = max(float(finite.max(initial=0)), float(np.nanmax(reach, initial=0)))
    top = min(most, max(TOP, float(np.nanmax(reach, initial=0))))
    axes = ("examples before the answer", unit)
    return multiples(panels, title=title, axes=axes, yaxis={"range": [0, 1.05 * top]})


def heading_of(group: str, k: int, error: float) -> str:
    """What the model's curve of a group comes to; a group without a name is the only one."""
    on = f" on {group}" if group else ""
    return f"Error{on} after {examples_of(k)}: {error:.3g}"


def examples_of(k: int) -> str:
    """A number of examples in words."""
    return f"{k} example" if k == 1 else f"{k} examples"


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
