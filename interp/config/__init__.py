"""What an experiment is: its TOML, its training options, its strategies."""

from interp.config.experiment import (
    Experiment,
    Name,
    find_toml,
    load_experiment,
    read_toml,
    readable,
    safe_name,
)
from interp.config.strategies import mixed, warm_up
from interp.config.training import Frozen, Phase, Seeds, Steps, Stop, Training

__all__ = [
    "Experiment",
    "Frozen",
    "Name",
    "Phase",
    "Seeds",
    "Steps",
    "Stop",
    "Training",
    "find_toml",
    "load_experiment",
    "mixed",
    "read_toml",
    "readable",
    "safe_name",
    "warm_up",
]
