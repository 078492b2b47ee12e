"""How models of mixtures are drawn beside pure ones: lines for models, dashes for references."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from analyses.in_context.figures import examples_of
from analyses.plots.figures import Figure
from analyses.plots.panels import Trace, multiples
from analyses.plots.style import DASHES, MUTED, PALETTE, line, logarithmic, words

if TYPE_CHECKING:
    from analyses.in_context.selection import ModelSelection

TOP = 1.5  # errors up to here are shown
# What the number is that tells prompts of a split apart.
ALONG = {
    "sparsity": "coefficients that are not 0",
    "combination": "share of the first class",
    "scale": "y multiplied by",
    "frequency": "frequency multiplied by",
}
# What its prompts are, where the class does not tell.
ON = {
    "sparsity": "linear functions",
    "combination": "combinations",
    "scale": "values made larger and smaller",
    "frequency": "other frequencies",
}
ERROR, DISTANCE = "squared error / mean y²", "squared difference / mean y²"


def selection_figures(found: "ModelSelection") -> Mapping[str, Figure]:
    """Curves by class, then by split what lies between the classes and outside."""
    drawn = {"classes": _classes(found)}
    if "sparsity" in found.splits:
        drawn |= {"sparsity": _against(found, "sparsity"), "distances": _distances(found)}
    for split in ("combination", "scale", "frequency"):
        if split in found.splits:
            drawn[split] = _against(found, split)
    if "combination" in found.splits and found.joint:
        drawn["ratio"] = _ratios(found)
    return drawn


def _classes(found: "ModelSelection") -> Figure:
    errors, examples = found.curve_errors, np.arange(found.errors.shape[2])
    panels = {
        name: [_curve(found, examples, errors[row, curve], curve) for curve in _order(found)]
        for row, (split, name) in enumerate(zip(found.splits, found.groups, strict=True))
        if split == "test"
    }
    inside = found.in_class[found.mixture, found.at]
    return multiples(
        panels, axes=("examples before the answer", ERROR), yaxis={"range": [0, TOP]},
        title=f"Trained on {found.names[found.mixture]}: error {inside:.3g} after "
        f"{examples_of(found.at)}, mean over classes",
    )  # fmt: skip


def _against(found: "ModelSelection", split: str) -> Figure:
    """Errors along a split, a panel a class; in one more the errors inside beside them."""
    rows = np.array([row for row, each in enumerate(found.splits) if each == split])
    errors, kinds = found.curve_errors[..., found.at], np.array(found.kinds)
    panels = {}
    for kind in dict.fromkeys(found.kinds[row] for row in rows):
        own = rows[kinds[rows] == kind]
        panels[f"on {kind or ON[split]}"] = [
            _curve(found, found.values[own], errors[own, curve], curve) for curve in _order(found)
        ]
    x = np.unique(found.values[rows])
    panels["on the classes trained on"] = [
        _curve(found, x, np.full(len(x), found.in_class[curve, found.at]), curve)
        for curve in _order(found)
    ]
    return multiples(
        panels, axes=(ALONG[split], ERROR), yaxis={"range": [0, TOP]},
        title=f"Errors after {examples_of(found.at)} on {ON[split]}, beside those inside",
    )  # fmt: skip


def _ratios(found: "ModelSelection") -> Figure:
    """Errors on combinations over those of ridge on the features of all classes.

    All of the models' is shown; a reference that fits exactly lies endlessly far below.
    """
    rows = np.array([row for row, each in enumerate(found.splits) if each == "combination"])
    ratios = found.ratios[rows][..., found.at]
    curves = [_curve(found, found.values[rows], ratios[:, curve], curve) for curve in _order(found)]
    outside = ratios[found.outside[rows], found.mixture]
    most = f"up to {float(f'{outside.max():.3g}'):,g}" if len(outside) else "only inside"
    models = {"joint": [1.0], "models": ratios[:, : len(found.names)]}
    ends = np.log10([np.nanmin(models["models"]), np.nanmax(models["models"]), 1])
    return multiples(
        {"": curves}, axes=(ALONG["combination"], "error / error of joint ridge"),
        yaxis=logarithmic(models) | {"range": [ends.min() - 0.2, ends.max() + 0.2]},
        title=f"Error of {found.names[found.mixture]} after {examples_of(found.at)} over that of "
        f"ridge on the features of all classes: {most}",
    )  # fmt: skip


def _distances(found: "ModelSelection") -> Figure:
    """How far the mixture's predictions are from all others, by number of coefficients."""
    rows = np.array([row for row, each in enumerate(found.splits) if each == "sparsity"])
    apart = found.curve_distances[rows, found.mixture][..., found.at]
    curves = [
        _curve(found, found.values[rows], apart[:, curve], curve)
        for curve in _order(found)
        if np.isfinite(apart[:, curve]).all()
    ]
    return multiples(
        {"": curves}, axes=(ALONG["sparsity"], DISTANCE), xaxis={"dtick": 1},
        title=f"Predictions of {found.names[found.mixture]} after {examples_of(found.at)}, how "
        "far from those of others",
    )  # fmt: skip


def _order(found: "ModelSelection") -> list[int]:
    """References first, so that models are drawn on top."""
    n_models = len(found.names)
    return [*range(n_models, len(found.curves)), *range(n_models)]


def _curve(found: "ModelSelection", x: np.ndarray, y: np.ndarray, curve: int) -> Trace:
    name, n_models = found.curves[curve], len(found.names)
    if curve < n_models:
        style = {"color": PALETTE[curve % 6], "width": 4 if curve == found.mixture else 3}
        return line(x, y, name, style)
    index = curve - n_models
    dashed = {"color": PALETTE[(index + 1) % 6], "dash": DASHES[1 + index % 4], "width": 1.5}
    return line(x, y, words(name), {"color": MUTED, "width": 1} if name == "zero" else dashed)
