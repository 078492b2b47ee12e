"""What saved results say in sentences, and which of them come first."""

from collections.abc import Sequence

from analyses.findings import Finding, headlines
from analyses.result import Analysis, BaseResult
from interp.runs.results import Saved

MAX_HEADLINES = 6  # sentences that a reader takes in at a glance
MIN_HEADLINES = 3  # fewer than these are filled up with further sentences of the same results
TASKS_OWN, CIRCUITS, GENERAL = range(
    3
)  # importance of an analysis: the lower, the earlier it stands


def importance(cls: Analysis) -> int:
    """How early an analysis stands: the task's own, then circuits, then general measures.

    The task's own are those that need its facts, labels or trees, or its metrics; and classes of
    the user's own.
    """
    needs = cls.needs
    is_users = cls.__module__.partition(".")[0] != "analyses"
    if is_users or needs.facts or needs.labels or needs.trees or needs.metrics or needs.columns:
        return TASKS_OWN
    return CIRCUITS if ".circuits." in cls.__module__ else GENERAL


def findings_of(saved: Saved) -> tuple[Finding, ...]:
    """The findings of a result at its last step, beside the untrained model where it is saved."""
    return stated(saved, saved.load(), _untrained(saved))


def headlines_of(results: Sequence[Saved]) -> list[Finding]:
    """The three to six findings of current results (`current_results`) that come first."""
    ordered = sorted(results, key=lambda saved: importance(saved.cls))
    return chosen_headlines([findings_of(saved) for saved in ordered])


def stated(saved: Saved, last: BaseResult, first: BaseResult | None) -> tuple[Finding, ...]:
    """The findings of a result.

    Args:
        saved: Where it is saved.
        last: It, at its last step.
        first: It, at its first step, if that is another.
    """
    is_untrained = len(saved.steps) > 1 and saved.steps[0] == 0
    return last.findings(first if is_untrained else None)


def chosen_headlines(findings: Sequence[Sequence[Finding]]) -> list[Finding]:
    """The three to six findings that a page begins with.

    Args:
        findings: Of each result, in order of importance.

    Returns:
        The first of each result that is no null, as far as there is room; where these are few, the
        further ones too.
    """
    by_result = [headlines(of_result) for of_result in findings]
    first = [own[:1] for own in by_result if own][:MAX_HEADLINES]
    room = max(0, MIN_HEADLINES - len(first))
    for place, own in enumerate(own for own in by_result if own):
        more = own[1 : 1 + room]
        room -= len(more)
        if more:
            first[place] = first[place] + more
    return [finding for own in first for finding in own]


def _untrained(saved: Saved) -> BaseResult | None:
    """The result at step 0, where it is saved beside later ones."""
    has_untrained = len(saved.steps) > 1 and saved.steps[0] == 0
    return saved.load(0) if has_untrained else None
