"""What became of each measurement: made, kept from before, or skipped, and why.

A model that has diverged holds NaN or infinity. That is a fact about a run, not an error: what
cannot be measured at a step is skipped, and a line names analysis, step and hook point. Any other
refusal (an option that does not fit), and any mistake in an analysis, is an error, raised when all
else is measured.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from analyses.result import BaseResult
from interp.runs import ResultFile, error_message, lines_by_reason, steps_in_words, write_result


@dataclass(frozen=True)
class Skipped:
    """Why a measurement could not be made, and whether that is an error."""

    why: str
    is_error: bool = False


@dataclass(frozen=True)
class Measurement:
    """What became of one measurement.

    Attributes:
        name: The analysis.
        step: The step; None for a result of the whole run or sweep.
        is_new: Whether it was measured now.
        skipped: Why there is no result, if there is none.
        is_reference: Whether every other step is measured against it.
        without: Steps that a result of the whole run leaves out, since the model has diverged.
    """

    name: str
    step: int | None
    is_new: bool = True
    skipped: Skipped | None = None
    is_reference: bool = False
    without: tuple[int, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What became of one analysis.

    Attributes:
        name: The analysis.
        measured: How many results were measured now.
        kept: How many results were saved before and are current.
        reason: Why the analysis does not apply, or what of it was skipped.
        applies: Whether it applies; of a sweep, to any run.
    """

    name: str
    measured: int = 0
    kept: int = 0
    reason: str = ""
    applies: bool = True


def measured(
    file: ResultFile,
    measure: Callable[[], BaseResult],
    *,
    obstacle: Callable[[], str] = lambda: "",
    diagnose: Callable[[], str] = lambda: "",
) -> Measurement:
    """Measures a result and saves it, unless its file is current.

    Args:
        file: Where the result is saved: of a step, of a whole run, or of a sweep.
        measure: Makes the result.
        obstacle: Says why measuring need not be tried, or nothing.
        diagnose: Says how the model has diverged, or nothing; see `attempted`.
    """
    name, step = file.header["analysis"], file.header.get("step")
    is_reference = step is not None and file.header.get("reference") == step
    if file.current() is not None:
        return Measurement(name, step, is_new=False, is_reference=is_reference)
    why_not = obstacle()
    result = Skipped(why_not) if why_not else attempted(measure, diagnose)
    if isinstance(result, Skipped):
        return Measurement(name, step, skipped=result, is_reference=is_reference)
    write_result(file.path, result, file.header)
    return Measurement(name, step, is_reference=is_reference)


def attempted(
    measure: Callable[[], BaseResult], diagnose: Callable[[], str]
) -> BaseResult | Skipped:
    """A result, or why there is none.

    Args:
        measure: Makes the result.
        diagnose: Says how the model has diverged, or nothing; asked where there is no result, or
            one with NaN among its scalars.
    """
    try:
        result = measure()
        numbers = [value for value in result.summary().values() if isinstance(value, float)]
    except Exception as error:  # each library meets NaN in its own way, and each has its mistakes
        why = diagnose()
        return Skipped(why or error_message(error), is_error=not why)
    why = diagnose() if any(map(math.isnan, numbers)) else ""
    return Skipped(why) if why else result


def summarised(name: str, lacking: str, measurements: Sequence[Measurement]) -> Summary:
    """What became of one analysis.

    Args:
        name: The analysis.
        lacking: Why it does not apply, or nothing.
        measurements: Of this analysis and others.
    """
    skipped: dict[str, list[Measurement]] = {}
    of_it = [measurement for measurement in measurements if measurement.name == name]
    for measurement in of_it:
        if measurement.skipped:
            skipped.setdefault(measurement.skipped.why, []).append(measurement)
    without = {measurement.without for measurement in of_it} - {()}
    notes = [_skipped_in_words(why, of_why) for why, of_why in skipped.items()]
    notes += [f"without {steps_in_words(steps)}: weights are NaN or infinite" for steps in without]
    is_new = [measurement.is_new for measurement in of_it if not measurement.skipped]
    counts = (is_new.count(True), is_new.count(False))
    return Summary(name, *counts, lacking or with_counts(*counts, notes), applies=not lacking)


def with_counts(measured: int, kept: int, notes: Sequence[str]) -> str:
    """Notes on an analysis behind its counts; nothing where there are no notes."""
    return "; ".join([f"{measured} measured, {kept} kept", *notes]) if notes else ""


def refuse_errors(measurements: Sequence[Measurement]) -> None:
    """Refuses to call it done where something else than a diverged model was in the way.

    Raises:
        ValueError: The message names each analysis and its steps.
    """
    reasons: dict[str, list[tuple[int | None, str]]] = {}
    for measurement in measurements:
        if measurement.skipped and measurement.skipped.is_error:
            reasons.setdefault(measurement.name, []).append(
                (measurement.step, measurement.skipped.why)
            )
    lines = [line for name in reasons for line in lines_by_reason(name, reasons[name])]
    if lines:
        raise ValueError("; ".join(lines) + "; all else is measured")


def _skipped_in_words(why: str, skipped: Sequence[Measurement]) -> str:
    """The steps that were skipped for one reason, and the reason."""
    steps = steps_in_words([skip.step for skip in skipped if skip.step is not None])
    has_reference = any(skip.is_reference for skip in skipped)
    against = ", and at no step measured against it" if has_reference else ""
    return f"not at {steps}{against}: {why}" if steps else why
