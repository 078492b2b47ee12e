"""Baselines by name, as people write them: `ridge:0.1` is ridge with the penalty 0.1.

A task that lacks what a baseline rests on passes it over: the Bayes mixture needs an exact prior,
joint ridge features in which every class is linear.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from analyses.in_context.baselines import BASELINES
from analyses.in_context.bayes import bayes_mixture, is_enumerable
from analyses.in_context.fitted_baselines import FITTED

BAYES, JOINT = "bayes", "joint_ridge"
# What the number after a baseline's name is.
NUMBERS = {
    "nearest": ("neighbours", int),
    "ridge": ("penalty", float),
    JOINT: ("penalty", float),
    "lasso": ("penalty", float),
    "boosted_trees": ("trees", int),
    "network": ("steps", int),
}


def baseline(name: str, constants: Mapping[str, Any], d: int) -> Callable[..., Tensor] | None:
    """A baseline by name and number, or None where the task allows none.

    Args:
        name: As in `ridge:0.1`; the number may be left out.
        constants: The task's.
        d: Numbers of an input.

    Raises:
        ValueError: The name is unknown, or its number no number.
    """
    known = BASELINES | FITTED
    kind, has_number, number = name.partition(":")
    if kind not in (*known, BAYES):
        raise ValueError(f"baselines: no '{kind}'; there are {', '.join([*known, BAYES])}")
    option = _option(kind, number, name) if has_number else {}  # which refuses bayes
    if kind == JOINT:
        features = constants.get("features")
        return partial(known[kind], **option, **features) if features else None
    if kind != BAYES:
        return partial(known[kind], **option)
    prior = constants.get("prior")
    if not prior or not is_enumerable(prior, d):
        return None
    return partial(bayes_mixture, prior=prior, noise=float(constants.get("noise", 0)))


def is_slow(name: str) -> bool:
    """Whether a baseline fits a model to every prefix of every prompt."""
    return name.partition(":")[0] in FITTED


def is_repeated(name: str, names: Sequence[str], constants: Mapping[str, Any]) -> bool:
    """Whether a name is of a joint ridge that would be the plain ridge among the others."""
    features = constants.get("features")
    is_plain = bool(features) and not features["frequencies"]
    return name.startswith(JOINT) and is_plain and name.removeprefix("joint_") in names


def joint_of(names: Sequence[str], constants: Mapping[str, Any]) -> str:
    """The curve that stands for ridge on the features of all classes; empty where none does."""
    asked = [name for name in names if name.startswith(JOINT)]
    if not asked or not constants.get("features"):
        return ""
    return asked[0].removeprefix("joint_") if is_repeated(asked[0], names, constants) else asked[0]


def _option(kind: str, number: str, name: str) -> dict[str, Any]:
    if kind not in NUMBERS:
        raise ValueError(f"baselines: '{name}': {kind} takes no number")
    option, of_type = NUMBERS[kind]
    try:
        return {option: of_type(number)}
    except ValueError:
        wanted = "a whole number" if of_type is int else "a number"
        raise ValueError(f"baselines: '{name}': {kind} takes {wanted}") from None
