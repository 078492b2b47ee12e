"""Prompts of functions drawn from classes, and the coefficients behind them."""

import torch

from interp.randomness import generator
from interp.tasks.functions.function_classes import FunctionClasses


def task_of(**options):
    return FunctionClasses.model_validate({"pairs": 12} | options)


def pairs_of(task, count=400, seed=0):
    """x `[prompt, pair, d]` and y `[prompt, pair]` of training data, in float64."""
    batch = task.data(count, generator(seed))
    return batch["inputs"][:, ::2].double(), batch["targets"][:, ::2].double()


def solved(x, y):
    """The coefficients of each prompt that least squares finds."""
    return torch.linalg.lstsq(x, y[..., None]).solution[..., 0]
