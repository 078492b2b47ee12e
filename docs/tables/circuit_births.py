"""Prints when edges of modular addition are born, over seeds, beside accuracy and FVE.

    python docs/tables/circuit_births.py SWEEP

SWEEP is the folder that docs/circuits-through-training.md trains: eight seeds of modular-addition
with dense checkpoints. Two minutes of one core.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analyses import CircuitBirth, CircuitOverlap, FourierCircuit, GrokkingPhases, trace
from analyses.statistics import median_interval, wilson_interval
from hooks import Series
from interp.sweeps.table import LazySeries, finished_runs, sweep_table

CONFIDENCE = 0.95
COLUMNS = ("t_train", "half train", "half test", "t_test", "FVE half", "edges train", "edges test")


def row(*cells: object) -> None:
    """A line of a table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def explained_half(series: Series) -> float:
    """The step from which on key frequencies explain half of the logits' final share."""
    frame = trace(series, FourierCircuit)
    share = frame["logit_fve_key"].to_numpy()
    late = np.minimum.accumulate(share[::-1])[::-1] >= share[-1] / 2
    return float(frame["step"].to_numpy()[late.argmax()])


def steps_of(series: Series) -> tuple[dict[str, float], CircuitBirth]:
    """When a seed knows its training pairs, has its edges and generalises."""
    births, phases = CircuitBirth.measure(series), GrokkingPhases.measure(series)
    edges = dict(zip(births.parts, np.nanmedian(births.born, axis=1).tolist(), strict=True))
    half = dict(zip(births.parts, births.accurate.tolist(), strict=True))
    values = (
        phases.t_train,
        half["train"],
        half["test"],
        phases.t_test,
        explained_half(series),
        edges["train"],
        edges["test"],
    )
    return dict(zip(COLUMNS, values, strict=True)), births


def interval(values: Sequence[float]) -> str:
    """The median, and its distribution-free interval."""
    ends = median_interval(np.array(values)[:, None], CONFIDENCE)[:, 0]
    return f"{np.median(values):.0f} ({ends[0]:.0f} to {ends[1]:.0f})"


def order(found: Sequence[dict[str, float]], first: str, second: str) -> None:
    """In how many seeds one comes before the other, and by how many steps."""
    ahead = [steps[second] - steps[first] for steps in found]
    before, same = sum(gap > 0 for gap in ahead), sum(gap == 0 for gap in ahead)
    low, high = wilson_interval(before, len(ahead), CONFIDENCE)
    share = f"{before} of {len(ahead)} ({low:.2f} to {high:.2f})"
    row(f"{first} before {second}", share, same, interval(ahead))


def by_kind(births: Sequence[CircuitBirth]) -> None:
    """Births by kind of edge: the range over seeds and heads, and the median over seeds."""
    print(
        "\n| edges | pairs | median over seeds | first and last of all |\n| --- | --- | --- | --- |"
    )
    for kind in dict.fromkeys(births[0].kinds):
        for part, name in enumerate(births[0].parts):
            of_kind = np.array(births[0].kinds) == kind
            steps = [each.born[part][of_kind] for each in births]
            born = [each[np.isfinite(each)] for each in steps]
            if all(each.size for each in born):
                medians = [float(np.median(each)) for each in born]
                whole = np.concatenate(born)
                row(kind, name, interval(medians), f"{whole.min():.0f}, {whole.max():.0f}")


def main(folder: Path) -> None:
    """All tables of a sweep."""
    members = finished_runs(folder)
    series = LazySeries(list(members.runs))
    found, births = zip(*(steps_of(series[name]) for name in series), strict=True)
    print(f"| seed | {' | '.join(COLUMNS)} |\n|{' --- |' * (len(COLUMNS) + 1)}")
    for name, steps in zip(series, found, strict=True):
        row(name.partition("-")[0], *(f"{steps[column]:.0f}" for column in COLUMNS))
    row("median", *(interval([steps[column] for steps in found]) for column in COLUMNS))
    print("\n| order | seeds | same checkpoint | steps between |\n| --- | --- | --- | --- |")
    order(found, "edges train", "edges test")
    order(found, "t_train", "edges train")
    order(found, "half test", "edges test")
    order(found, "edges test", "t_test")
    order(found, "FVE half", "edges test")
    by_kind(births)
    overlap = CircuitOverlap.measure(sweep_table(members, ()), series, axes=()).summary()
    print("\n" + ", ".join(f"{key} {value:.3g}" for key, value in overlap.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
