"""What a report says in words and numbers: settings, sizes, last metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from interp.pages.curve import Curve, held_out_accuracy
from interp.runs.run import Run

UNDEFINED = "–"  # noqa: RUF001  # an en dash
LONGEST = 80  # characters of a setting
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Overview:
    """A run in one line of the index.

    Attributes:
        name: The run's name.
        page: The file name of its page; empty where it has none.
        failure: Why it could not be finished, or nothing.
        task: The task's name.
        settings: The task's other fields, readable.
        kind: What kind of model.
        parameters: How many numbers a checkpoint holds; None without checkpoints.
        steps: The last step known of, or None.
        metrics: The last row of metrics, `step` left out.
        curve: Accuracy on data that was not trained on, by step.
    """

    name: str
    page: str
    failure: str
    task: str
    settings: str
    kind: str
    parameters: int | None
    steps: int | None
    metrics: dict[str, float] = field(hash=False)
    curve: Curve


def overview(run: Run, page: str) -> Overview:
    """A run in one line.

    Raises:
        ValueError: The experiment, the metrics or the last checkpoint is damaged.
    """
    experiment, kept = run.experiment, run.steps
    fields = settings(experiment.task)
    task = fields.pop("name")
    recorded = run.recorded_metrics()
    last = {} if recorded is None else recorded.iloc[-1].to_dict()
    known = [int(last.pop("step"))] if last else []
    return Overview(
        name=run.name,
        page=page,
        failure=run.failure,
        task=shown(task),
        settings=" · ".join(f"{name} {shown(value)}" for name, value in fields.items()),
        kind=shown(settings(experiment.model).get("kind", "")),
        parameters=_size(run, kept[-1]) if kept else None,
        steps=max(known + list(kept[-1:]), default=None),
        metrics=last,
        curve=held_out_accuracy(recorded),
    )


def shared(entries: Sequence[Overview]) -> dict[str, str]:
    """What several runs have alike, to be said once: task, its settings, model, parameters."""
    if len(entries) < 2:
        return {}
    tables = [
        {
            "task": each.task.replace("_", " "),
            "settings": each.settings,
            "model": each.kind.replace("_", " "),
            "parameters": shown(each.parameters),
        }
        for each in entries
    ]
    first, *others = tables
    return {name: text for name, text in first.items() if all(o[name] == text for o in others)}


def settings(table: Any) -> dict[str, Any]:
    """The fields of a table of the experiment that hold something, names and texts readable."""
    if table is None:
        return {}
    dumped = table.model_dump(mode="json", exclude_none=True)
    return {
        name.replace("_", " "): brief(value)
        for name, value in dumped.items()
        if value not in ([], {}, "")
    }  # fmt: skip


def shown(value: Any) -> str:
    """A setting or a number in one line for people to read.

    Numbers have their thousands grouped and four digits that count; what is undefined is an en
    dash.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(each)}" for name, each in value.items()).replace("_", " ")
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return UNDEFINED if value is None else str(value)


def brief(value: Any) -> Any:
    """A setting, cut where it is a long text: thousands of training pairs are read in the file."""
    is_long = isinstance(value, str) and len(value) > LONGEST
    return f"{value[: LONGEST - 1]}…" if is_long else value


def _number(value: float) -> str:
    if math.isnan(value):
        return UNDEFINED
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"  # noqa: RUF001  # a minus sign
    is_whole = float(value).is_integer() and abs(value) < 1e9
    digits, _, exponent = (f"{value:,.0f}" if is_whole else f"{value:.4g}").partition("e")
    if exponent:
        digits += "\u00a0×\u00a010" + str(int(exponent)).translate(SUPERSCRIPTS)  # noqa: RUF001  # times
    return digits.replace("-", "−")  # noqa: RUF001  # a minus sign


def _size(run: Run, step: int) -> int:
    return sum(value.numel() for value in run.parameters(step).values())
