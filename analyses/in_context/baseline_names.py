"""Which baseline does a name stand for? `ridge:0.1` is ridge with the penalty 0.1.

A baseline is passed over where the task lacks what it rests on: the Bayes mixture needs an exact
prior, joint ridge needs features in which every class is linear.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from analyses.in_context.baselines import BASELINES
from analyses.in_context.bayes import bayes_mixture, is_enumerable
from analyses.in_context.fitted_baselines import FITTED
from hooks import Facts, FunctionFacts

BAYES, JOINT = "bayes", "joint_ridge"
# What the number after a baseline's name is, and its type.
NUMBERS = {
    "nearest": ("neighbours", int),
    "ridge": ("penalty", float),
    JOINT: ("penalty", float),
    "lasso": ("penalty", float),
    "boosted_trees": ("trees", int),
    "network": ("steps", int),
}


def baseline(name: str, facts: Facts, d: int) -> Callable[..., Tensor] | None:
    """A baseline by name and number, or None where the task allows none.

    Args:
        name: As in `ridge:0.1`; the number may be left out.
        facts: What the task says; the Bayes mixture and joint ridge rest on its functions.
        d: Numbers of an input.

    Raises:
        ValueError: The name is unknown, or its number no number.
    """
    known = BASELINES | FITTED
    kind, has_number, number = name.partition(":")
    if kind not in (*known, BAYES):
        raise ValueError(f"baselines: no '{kind}'; there are {', '.join([*known, BAYES])}")
    option = _option(kind, number, name) if has_number else {}  # which refuses bayes
    if kind not in (JOINT, BAYES):
        return partial(known[kind], **option)
    functions = _functions(facts)
    if kind == BAYES:
        bayes = partial(bayes_mixture, prior=functions.prior, noise=functions.noise)
        return bayes if functions.prior and is_enumerable(functions.prior, d) else None
    features = {"linear": functions.has_linear_features, "frequencies": functions.wave_features}
    return partial(known[kind], **option, **features) if functions.has_features else None


def is_slow(name: str) -> bool:
    """Whether a baseline fits a model to every prefix of every prompt."""
    return name.partition(":")[0] in FITTED


def is_repeated(name: str, names: Sequence[str], facts: Facts) -> bool:
    """Whether a name is of a joint ridge that is the same as a plain ridge among the others."""
    functions = _functions(facts)
    is_plain = functions.has_features and not functions.wave_features
    return name.startswith(JOINT) and is_plain and name.removeprefix("joint_") in names


def joint_of(names: Sequence[str], facts: Facts) -> str:
    """The curve of ridge on the features of all classes; empty if there is none."""
    joint = next((name for name in names if name.startswith(JOINT)), "")
    if not _functions(facts).has_features:
        return ""
    return joint.removeprefix("joint_") if is_repeated(joint, names, facts) else joint


def _functions(facts: Facts) -> FunctionFacts:
    """What the task says of its functions: no prior and no features if it says nothing."""
    return facts.get(FunctionFacts) or FunctionFacts(d=0)


def _option(kind: str, number: str, name: str) -> dict[str, Any]:
    """The option of a baseline that the number after its name gives."""
    if kind not in NUMBERS:
        raise ValueError(f"baselines: '{name}': {kind} takes no number")
    option, number_type = NUMBERS[kind]
    try:
        return {option: number_type(number)}
    except ValueError:
        wanted = "a whole number" if number_type is int else "a number"
        raise ValueError(f"baselines: '{name}': {kind} takes {wanted}") from None
