"""Models that were never trained, on prompts of function classes."""

import torch

from hooks import Snapshot, build
from hooks.edit import Edit
from interp.tasks.functions.function_classes import FunctionClasses
from tests.planted import config_for

TASK = {"d": 3, "pairs": 8, "test_prompts": 400}
MIXED = {"classes": [{"family": "dense"}, {"family": "sparse", "nnz": 1}]}


def task_of(**options):
    return FunctionClasses.model_validate(TASK | options)


def untrained(task, split="test", count=None):
    """A model that was never trained, on prompts of a task."""
    model = build(config_for(task.sizes), task.sizes, seed=0)
    return Snapshot.of(model, task.examples(split, count, 0))


def always(snapshot, answer):
    """The model made to answer one number."""
    constant = {
        "unembed.W_U": lambda weights: torch.zeros_like(weights),
        "unembed.b_U": lambda weights: torch.full_like(weights, answer),
    }
    return snapshot.edited(Edit(parameters=constant))
