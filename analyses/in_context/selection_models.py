"""Which models of a sweep are to be compared, and what was each trained on?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analyses.sweep_scalars import has_failed
from hooks import Series

WEIGHTS = "task.weights"
ALIKE = ("d", "pairs", "classes", "noise")  # constants of a task that all runs must share


@dataclass(frozen=True, eq=False)
class Models:
    """Finished runs that differ in the weights of their classes.

    Attributes:
        series: By the run's name.
        classes: Classes of functions.
        shares: Each setting's share of each class.
        setting: Which of the settings each run has.
    """

    series: Mapping[str, Series]
    classes: tuple[str, ...]
    shares: Float[np.ndarray, "setting class"]
    setting: Int[np.ndarray, " run"]

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(self.series)

    @property
    def names(self) -> tuple[str, ...]:
        """What each setting was trained on."""
        return tuple(_told(self.classes, row) for row in self.shares)

    @property
    def most_even(self) -> int:
        """The first run of the setting whose smallest share is largest."""
        return int(np.flatnonzero(self.setting == self.shares.min(1).argmax())[0])


def models_of(table: pd.DataFrame, series: Mapping[str, Series], axes: Sequence[str]) -> Models:
    """The runs of a table that were finished and have a checkpoint.

    Raises:
        ValueError: Fields other than the weights vary, none is finished, tasks differ, or no
            run is of a mixture of all classes.
    """
    others = [axis for axis in axes if axis != WEIGHTS]
    if others:
        raise ValueError(
            f"ModelSelection compares runs that differ in {WEIGHTS} and seeds, and here "
            f"{', '.join(others)} varies too: make a sweep of each"
        )
    finished = table.loc[~has_failed(table), "run"]
    known = {run: own for run in finished if (own := series[run]).steps}
    facts = [own.constants for own in known.values()]
    lacking = [
        name
        for each in facts
        for name in ("shares", "splits", "inside", *ALIKE)
        if name not in each
    ]
    if not known or lacking:
        why = f"their task tells no {lacking[0]}" if lacking else "no run is finished"
        raise ValueError(f"ModelSelection needs runs of function_classes: {why}")
    differs = [name for name in ALIKE if any(each[name] != facts[0][name] for each in facts)]
    if differs:
        raise ValueError(f"ModelSelection needs runs of one task, and {differs[0]} differs")
    shares, setting = np.unique([each["shares"] for each in facts], axis=0, return_inverse=True)
    if not shares.min(1).max() > 0:
        raise ValueError(
            f"ModelSelection needs a run with all of {', '.join(facts[0]['classes'])} in its "
            f"mixture: add one to {WEIGHTS}"
        )
    # The first class first, as in the papers' order w = 1 to 0.
    order = len(shares) - 1 - setting.reshape(-1)
    return Models(known, tuple(facts[0]["classes"]), shares[::-1].copy(), order)


def _told(classes: Sequence[str], shares: Float[np.ndarray, " class"]) -> str:
    """Shares in words."""
    present = [(name, share) for name, share in zip(classes, shares, strict=True) if share > 0]
    if len(present) == 1:
        return f"{present[0][0]} alone"
    return ", ".join(f"{name} {share:.3g}" for name, share in present)
