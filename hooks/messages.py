"""Ends of error messages: what may have been meant, and at which step it happened."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def near_names(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """At most three known names that are spelled much like a name, the nearest first.

    Args:
        name: What was typed. Upper and lower case count as the same.
        known: The names there are.
        cutoff: How much of it must agree, from 0 to 1 (`difflib.get_close_matches`).
    """
    by_lower_case = {spelled.lower(): spelled for spelled in known}
    return [
        by_lower_case[spelled]
        for spelled in get_close_matches(name.lower(), by_lower_case, n=3, cutoff=cutoff)
    ]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean W_E or W_U?`, the end of a message, or nothing where no known name is near.

    Args:
        name: What was typed.
        known: The names there are.
    """
    near = near_names(str(name), known)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest_step(step: int, steps: Sequence[int]) -> str:
    """`; the nearest is 300`, the kept step closest to one that was not kept; nothing without any.

    Args:
        step: What was asked for.
        steps: The steps there are.
    """
    return f"; the nearest is {min(steps, key=lambda other: abs(other - step))}" if steps else ""


def at_step(step: int | None) -> str:
    """` at step 300`; nothing where the step is not known."""
    return "" if step is None else f" at step {step}"
