"""Findings: what a result says, in sentences that hold their own control.

An analysis writes them from its own numbers (`BaseResult.findings`). Pages, terminal, index, model
card and printed results show the same sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Strength = Literal["found", "not found", "null"]


@dataclass(frozen=True)
class Finding:
    """One sentence about a result.

    Attributes:
        text: The sentence, without a full stop: what was measured and, beside it, its control
            (chance, the untrained model, shuffled labels, random weights).
        strength: found; not found, where what was looked for is not there; null, where the control
            is as high, so that the number tells nothing.
        figure: Slug of the figure that shows it; the first where empty.
    """

    text: str
    strength: Strength = "found"
    figure: str = ""


def headlines(findings: Sequence[Finding]) -> list[Finding]:
    """Those that may stand at the head of a page: a control as high is no headline."""
    return [finding for finding in findings if finding.strength != "null"]


def percent(share: float) -> str:
    """A share as a text: 7.3 %, 50 %, 99.97 %; never 100 % for less than all.

    Two digits of what lies between the share and the nearer end.
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    distance = min(abs(share), abs(1 - share))
    digits = 0 if distance >= 0.1 else 1 if distance >= 0.001 else 2 if distance >= 0.0001 else 3
    text = f"{100 * share:.{digits}f}"
    if float(text) in (0.0, 100.0):
        return "under 0.001 %" if share < 0.5 else "over 99.999 %"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def strength_beside(value: float, control: float, *, margin: float = 0.0) -> Strength:
    """How strong it is that a value lies above its control.

    Args:
        value: What was measured; the more the better.
        control: The same, measured where nothing is to be found.
        margin: How far above it must lie: two or three standard errors, or the least that matters.

    Returns:
        found where it lies above by more than the margin; null otherwise, and where one is NaN.
    """
    return "found" if value - control > margin else "null"
