"""A sweep whose runs take ten updates."""

from interp.sweeps.sweep import Sweep
from tests.planted import tiny_experiment

VARY = {"training.lr": [1e-3, 1e-2], "training.weight_decay": [0.1, 1.0]}


def short_sweep(**options) -> Sweep:
    table = {
        "name": "tiny",
        "base": tiny_experiment(steps=10, checkpoints={"every": 5}),
        "seeds": 2,
    }
    return Sweep.model_validate(table | options)
