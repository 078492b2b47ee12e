"""How many runs end in which way, as a sentence.

Categories are said as verbs. Those of the rule on losses know nothing of accuracy: a run that groks
by accuracy may keep a loss that this rule calls high, and a sentence or title says so.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from analyses.findings import Finding, Strength, percent
from analyses.plots import words
from analyses.statistics import wilson_interval

# Of several runs; other categories are said as they are.
VERBS = {
    "groks": "grok",
    "generalises": "generalise",
    "partial": "generalise in part",
    "memorises": "memorise",
    "fails": "fail",
    "diverged": "diverge",
    "grokking": "grok",
    "drop together": "lower both losses together",
    "high test loss": "bring train loss alone below the rule's level",
    "high train loss": "keep train loss above the rule's level",
}
BY_LOSSES = "loss_category"  # how a column ends whose outcomes do not look at accuracy
MAJORITY = 0.5  # share of runs that the interval must exceed where most runs are said to do so


def rate_finding(
    categories: Sequence[str], counts: Int[np.ndarray, " category"], confidence: float, outcome: str
) -> Finding:
    """The most frequent outcome of runs that differ in their seeds alone, with Wilson's interval.

    Found where the whole interval lies above one half: then most such runs end so. Not found
    otherwise, where most seeds may do either.
    """
    runs, place = int(counts.sum()), int(counts.argmax())
    count = int(counts[place])
    low, high = wilson_interval(count, runs, confidence)
    others = [
        f"{other} {runs_end(name, int(other))}"
        for name, other in zip(categories, counts, strict=True)
        if other and name != categories[place]
    ]
    strength: Strength = "found" if low > MAJORITY else "not found"
    text = f"{count} of {runs} runs {runs_end(categories[place], count)}"
    interval = f" ({percent(confidence)} interval {between(low, high)})"
    unsure = "" if strength == "found" else ": more seeds would tell whether most do"
    rest = "".join(f", {other}" for other in others) + unsure
    return Finding(sentence(text + interval + rest, outcome), strength, "intervals")


def runs_end(category: str, count: int) -> str:
    """What so many runs do: 1 groks, 2 grok."""
    verb, _, rest = VERBS.get(category, f"end as {words(category)}").partition(" ")
    return " ".join(filter(None, (f"{verb}s" if count == 1 else verb, rest)))


def between(low: float, high: float) -> str:
    """The ends of an interval of a share: 53 to 97.8 %."""
    return f"{percent(round(low, 3)).removesuffix(' %')} to {percent(round(high, 3))}"


def basis(outcome: str) -> str:
    """What outcomes are judged by, for a title, where accuracy does not count; empty otherwise."""
    return ", by losses alone" if outcome.endswith(BY_LOSSES) else ""


def sentence(text: str, outcome: str) -> str:
    """A text as a sentence, which begins with what outcomes are judged by if not by accuracy."""
    return f"By losses alone, {text}" if basis(outcome) else text[0].upper() + text[1:]
