"""Pairs of sums as the measured specification draws them, to compare numbers digit by digit."""

import torch

from hooks import Pairs, Snapshot
from hooks.live_model import LiveModel
from hooks.models import restore
from interp.runs.run import Run


def drawn_pairs(run: Run, count: int, change: str = "both") -> Pairs:
    """Sums of all, the numbers named by the change (a, b or both) replaced by others."""
    examples, p = run.experiment.task.examples("all", None, 0), 53
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(examples), generator=generator)[:count]
    numbers = {name: examples.label(name)[rows] for name in "ab"}
    others = {
        name: (x + torch.randint(1, p, (count,), generator=generator)) % p
        if change in (name, "both")
        else x
        for name, x in numbers.items()
    }
    is_same = (others["a"] + others["b"]) % p == (numbers["a"] + numbers["b"]) % p
    others["b"][is_same] = (others["b"][is_same] + 1) % p
    places = torch.full((p, p), -1)
    places[examples.label("a"), examples.label("b")] = torch.arange(len(examples))
    return Pairs.of(examples.at(rows), examples.at(places[others["a"], others["b"]]), change=change)


def in_double(run: Run, step: int) -> Snapshot:
    """A step in float64, on one example."""
    parameters = {name: value.double() for name, value in dict(run.parameters(step)).items()}
    model = restore(run.config, run.sizes, parameters)
    return Snapshot(LiveModel(model, run.config), run.examples(count=1), step)
