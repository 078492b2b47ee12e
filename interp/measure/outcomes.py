"""What became of each measurement: made, kept from before, or missed, and why.

A model that has diverged holds NaN or infinity. That is a fact about a run, not an error: what
cannot be measured at a step is passed over, and a line names analysis, step and hook point. Any
other refusal (an option that does not fit), and any mistake in an analysis, is an error, told when
all else is measured.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from analyses.result import BaseResult

F = TypeVar("F", bound=BaseResult)

LISTED = 6  # steps named one by one


@dataclass(frozen=True)
class Outcome:
    """What became of one analysis.

    Attributes:
        name: The analysis.
        measured: Results measured now.
        kept: Results that were saved before and still hold.
        reason: Why it does not apply, or what of it was missed.
    """

    name: str
    measured: int = 0
    kept: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Missed:
    """Why a measurement could not be made, and whether that is an error."""

    why: str
    is_error: bool = False


@dataclass(frozen=True)
class Attempt:
    """What became of one measurement.

    Attributes:
        name: The analysis.
        step: The step; None for a result of the whole run.
        is_new: Whether it was measured now.
        missed: Why there is no result, if there is none.
        is_reference: Whether every other step is measured against it.
        without: Steps that a result of the whole run leaves out, since the model has diverged.
    """

    name: str
    step: int | None
    is_new: bool = True
    missed: Missed | None = None
    is_reference: bool = False
    without: tuple[int, ...] = ()


def attempted(measure: Callable[[], F], diagnose: Callable[[], str]) -> F | Missed:
    """A result, or why there is none.

    Args:
        measure: Makes the result.
        diagnose: Says how the model has diverged, or nothing; asked where there is no result, or
            one with NaN among its scalars.
    """
    try:
        found = measure()
        numbers = [each for each in found.summary().values() if isinstance(each, float)]
    except Exception as error:  # each library meets NaN in its own way, and each has its mistakes
        why = diagnose()
        return Missed(why or in_a_line(error), is_error=not why)
    why = diagnose() if any(map(math.isnan, numbers)) else ""
    return Missed(why) if why else found


def in_a_line(error: Exception) -> str:
    """An error's message, and its kind where that is no refusal but a mistake."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def outcome(name: str, lacking: str, attempts: Sequence[Attempt]) -> Outcome:
    """What became of one analysis, whose attempts these are.

    Args:
        name: The analysis.
        lacking: Why it does not apply, or nothing.
        attempts: Of this analysis and others.
    """
    own = [each for each in attempts if each.name == name]
    made = [each for each in own if not each.missed]
    measured = sum(each.is_new for each in made)
    kept = len(made) - measured
    notes = [_told(why, each) for why, each in _by_reason(own).items()]
    left_out = {each.without for each in own if each.without}
    notes += [f"without {steps_told(steps)}: weights are NaN or infinite" for steps in left_out]
    counts = f"{measured} measured, {kept} kept"
    return Outcome(name, measured, kept, lacking or ("; ".join([counts, *notes]) if notes else ""))


def refuse(attempts: Sequence[Attempt]) -> None:
    """Refuses to call it done where something else than a diverged model was in the way.

    Raises:
        ValueError: The message names each analysis and its steps.
    """
    failed = [each for each in attempts if each.missed and each.missed.is_error]
    told = []
    for name in dict.fromkeys(each.name for each in failed):
        for why, own in _by_reason([each for each in failed if each.name == name]).items():
            steps = [each.step for each in own if each.step is not None]
            told.append(f"{name}{' at ' if steps else ''}{steps_told(steps)}: {why}")
    if told:
        raise ValueError("; ".join(told) + "; all else is measured")


def steps_told(steps: Sequence[int]) -> str:
    """Steps as a reader names them: all of a few, the ends of many."""
    steps = sorted(steps)
    if len(steps) > LISTED:
        return f"{len(steps)} steps from {steps[0]} to {steps[-1]}"
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}" if steps else ""


def _by_reason(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for each in attempts:
        if each.missed:
            found.setdefault(each.missed.why, []).append(each)
    return found


def _told(why: str, missed: Sequence[Attempt]) -> str:
    steps = steps_told([each.step for each in missed if each.step is not None])
    other = any(each.is_reference for each in missed)
    against = ", and at no step measured against it" if other else ""
    return f"not at {steps}{against}: {why}" if steps else why
