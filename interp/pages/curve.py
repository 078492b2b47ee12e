"""A run's curve in one line of the index."""

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

POINTS = 60  # more than the pixels of a small drawing can tell apart
WIDTH, HEIGHT, EDGE = 120, 28, 3

Curve = tuple[tuple[float, float], ...]


def held_out_accuracy(metrics: pd.DataFrame | None) -> Curve:
    """Accuracy on data that was not trained on, by step; empty where none was recorded.

    That is `test.accuracy`, or the last of the accuracies that is not the training set's.
    """
    names = [] if metrics is None else [name for name in metrics if name.endswith(".accuracy")]
    others = [name for name in names if not name.startswith("train.")]
    if metrics is None or not others:
        return ()
    name = "test.accuracy" if "test.accuracy" in others else others[-1]
    points = metrics[["step", name]].dropna().to_numpy().tolist()
    last = len(points) - 1
    places = range(last + 1) if last < POINTS else (last * i // (POINTS - 1) for i in range(POINTS))
    return tuple((float(points[i][0]), float(points[i][1])) for i in places)


def sparkline(curve: Curve) -> Markup:
    """A small drawing of a curve of fractions, 0 at the bottom and 1 at the top."""
    if not curve:
        return Markup("")
    steps = [step for step, _ in curve]
    first, length = steps[0], (steps[-1] - steps[0]) or 1
    places = [
        (EDGE + (step - first) / length * (WIDTH - 2 * EDGE),
         HEIGHT - EDGE - min(max(value, 0), 1) * (HEIGHT - 2 * EDGE))
        for step, value in curve
    ]  # fmt: skip
    return Markup(
        '<svg class="spark" role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        'aria-label="{label}"><polyline points="{points}"/><circle cx="{x}" cy="{y}" r="2"/></svg>'
    ).format(w=WIDTH, h=HEIGHT, label=_told(curve), points=_points(places),
             x=f"{places[-1][0]:.1f}", y=f"{places[-1][1]:.1f}")  # fmt: skip


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _told(curve: Curve) -> str:
    (first, start), (last, end) = curve[0], curve[-1]
    return f"{start:.3g} at step {first:.0f}, {end:.3g} at step {last:.0f}"
