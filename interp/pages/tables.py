"""What a report says in words and numbers: settings and how runs differ, sizes, last metrics."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from analyses.sweep_table import axis_name
from hooks.own_classes import is_reference, short_name
from interp.config.experiment import Experiment
from interp.runs.run import Run

if TYPE_CHECKING:
    import pandas

UNDEFINED = "–"  # noqa: RUF001  # an en dash
MAX_SETTING_LETTERS = 80
MAX_SETTING_WORDS = 40  # words of a list, such as a vocabulary
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SEEDS = ("seeds.model", "seeds.data", "seeds.order")
MAX_SPARKLINE_POINTS = 60  # more than the pixels of a small drawing can tell apart
SPARKLINE_WIDTH, SPARKLINE_HEIGHT, SPARKLINE_EDGE = 120, 28, 3  # pixels

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Overview:
    """A run in one line of the index.

    Attributes:
        name: The run's name.
        page: The file name of its page; empty where it has none.
        failure: Why the run could not be finished; empty where it could.
        task: The task's name.
        settings: The task's other fields, in words.
        kind: The kind of model.
        parameters: How many numbers a checkpoint holds; None without checkpoints.
        steps: The last step of metrics and checkpoints; None without either.
        metrics: The last row of metrics, without `step`.
        curve: Accuracy on held-out data, by step.
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
    """A run in one line of the index.

    Raises:
        ValueError: The experiment, the metrics or the last checkpoint is damaged.
    """
    fields, checkpoints = settings(run.stated.task), run.steps
    task, recorded = fields.pop("name"), run.recorded_metrics()
    metrics = {} if recorded is None else recorded.iloc[-1].to_dict()
    last_steps = [*([int(metrics.pop("step"))] if metrics else []), *checkpoints[-1:]]
    return Overview(
        name=run.name,
        page=page,
        failure=run.failure,
        task=shown(task),
        settings=" · ".join(f"{name} {shown(value)}" for name, value in fields.items()),
        kind=shown(settings(run.experiment.model).get("kind", "")),
        parameters=sum(value.numel() for value in run.parameters(checkpoints[-1]).values())
        if checkpoints
        else None,
        steps=max(last_steps, default=None),
        metrics=metrics,
        curve=held_out_accuracy(recorded),
    )


def shared(entries: Sequence[Overview]) -> dict[str, str]:
    """What is the same in all of several runs: task, its settings, model, parameters."""
    if len(entries) < 2:
        return {}
    texts = {
        "task": {entry.task.replace("_", " ") for entry in entries},
        "settings": {entry.settings for entry in entries},
        "model": {entry.kind.replace("_", " ") for entry in entries},
        "parameters": {shown(entry.parameters) for entry in entries},
    }
    return {name: values.pop() for name, values in texts.items() if len(values) == 1}


def settings(table: Any) -> dict[str, Any]:
    """The fields of an experiment's table that are not empty, names and texts made readable.

    A class of the user's own is called by its name; the TOML on the page says where it is.
    """
    if table is None:
        return {}
    return {
        name.replace("_", " "): brief(short_name(value) if is_reference(value) else value)
        for name, value in _filled(table.model_dump(mode="json", exclude_none=True)).items()
    }


def _filled(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table without what is empty in it, tables in it too."""
    filled = {
        name: _filled(value) if isinstance(value, Mapping) else value
        for name, value in table.items()
    }
    return {name: value for name, value in filled.items() if value not in ([], {}, "")}


def shown(value: Any) -> str:
    """A setting or a number in one line for people to read.

    Numbers have grouped thousands and four significant digits; what is undefined is an en dash.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(part)}" for name, part in value.items()).replace("_", " ")
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return UNDEFINED if value is None else str(value)


def brief(value: Any) -> Any:
    """A setting, cut where it is a long text, such as thousands of pairs, or many words."""
    if isinstance(value, Mapping):
        return {name: brief(part) for name, part in value.items()}
    is_words = isinstance(value, list) and all(isinstance(part, str) for part in value)
    if is_words and len(value) > MAX_SETTING_WORDS:
        return f"{', '.join(value[:3])}, … ({len(value):,})"
    is_long = isinstance(value, str) and len(value) > MAX_SETTING_LETTERS
    return f"{value[: MAX_SETTING_LETTERS - 1]}…" if is_long else value


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


def held_out_accuracy(metrics: "pandas.DataFrame | None") -> Curve:
    """Accuracy on held-out data by step; empty where none was recorded.

    That is `test.accuracy`, or otherwise the last accuracy that is not of the training set.
    """
    names = [] if metrics is None else [name for name in metrics if name.endswith(".accuracy")]
    others = [name for name in names if not name.startswith("train.")]
    if metrics is None or not others:
        return ()
    name = "test.accuracy" if "test.accuracy" in others else others[-1]
    points = metrics[["step", name]].dropna().to_numpy().tolist()
    last, most = len(points) - 1, MAX_SPARKLINE_POINTS
    places = range(last + 1) if last < most else (last * i // (most - 1) for i in range(most))
    return tuple((float(points[place][0]), float(points[place][1])) for place in places)


def sparkline(curve: Curve) -> Markup:
    """A small drawing of a curve of fractions, 0 at the bottom and 1 at the top."""
    if not curve:
        return Markup("")
    (first, start), (last, end) = curve[0], curve[-1]
    width, height = SPARKLINE_WIDTH - 2 * SPARKLINE_EDGE, SPARKLINE_HEIGHT - 2 * SPARKLINE_EDGE
    points = [
        f"{SPARKLINE_EDGE + (step - first) / ((last - first) or 1) * width:.1f},"
        f"{SPARKLINE_HEIGHT - SPARKLINE_EDGE - min(max(value, 0), 1) * height:.1f}"
        for step, value in curve
    ]
    x, _, y = points[-1].partition(",")
    return Markup(
        '<svg class="spark" role="img" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        'aria-label="{label}"><polyline points="{points}"/><circle cx="{x}" cy="{y}" r="2"/></svg>'
    ).format(
        w=SPARKLINE_WIDTH,
        h=SPARKLINE_HEIGHT,
        label=f"{start:.3g} at step {first:.0f}, {end:.3g} at step {last:.0f}",
        points=" ".join(points),
        x=x,
        y=y,
    )


def differences(
    experiments: Sequence[Experiment], *, without: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """For each experiment, the settings that are not the same in all, under readable names.

    The name of an experiment does not count. Seeds that always agree count as one setting.

    Args:
        experiments: The experiments.
        without: Paths of settings (`task.name`) that are said elsewhere.
    """
    tables = [experiment.fields for experiment in experiments]
    if all(len({table[seed] for seed in SEEDS}) == 1 for table in tables):
        tables = [
            {path: value for path, value in table.items() if path not in SEEDS}
            | {"seed": table[SEEDS[0]]}
            for table in tables
        ]
    paths = dict.fromkeys(path for table in tables for path in table)
    values = {path: {str(table.get(path)) for table in tables} for path in paths}
    varied = [path for path in paths if len(values[path]) > 1 and path not in ("name", *without)]
    names = {
        path: f"{path.rpartition('.')[2]} seed" if path in SEEDS else axis_name(path, varied)
        for path in varied
    }
    return [{names[path]: table[path] for path in varied if path in table} for table in tables]


def setting_texts(settings: Mapping[str, Any]) -> list[str]:
    """Each setting in a few words: its name and its value."""
    return [f"{name} {shown(brief(value))}" for name, value in settings.items()]
