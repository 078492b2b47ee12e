"""An experiment with some fields replaced, as members of a sweep have them, and its name."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from interp.config.experiment import Experiment, readable
from interp.tasks.data_files import KEPT, REFUSED, taken_from

Table = dict[str, Any]


def with_values(base: Experiment, values: Mapping[str, Any]) -> Experiment:
    """An experiment with some fields replaced.

    Args:
        base: What the others share.
        values: By path (`task.d`). A field of the task is replaced in those tasks of the schedule,
            too, that share it with the evaluated one.

    Raises:
        ValueError: A field is unknown, or a value wrong.
    """
    table = base.model_dump(mode="json", exclude_none=True)
    for path, value in values.items():
        *above, field = path.split(".")
        for each in [*_alike(table, path), table]:
            _place(each, above, f"vary.{path}")[field] = value
    # The base of an older version's sweep may have relative paths: its members keep them.
    is_whole = all(Path(file).is_absolute() for file in base.data_files.values())
    rule = REFUSED if is_whole else KEPT
    try:
        return Experiment.model_validate(table, context=taken_from(rule))
    except ValidationError as error:
        told = " · ".join(f"{path} = {value}" for path, value in values.items())
        raise ValueError(f"vary: {readable(error)}, with {told}") from None


def _place(table: Table, names: list[str], told: str) -> Table:
    """The table at a path, made where missing."""
    for name in names:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{told}: {name} is no table")
    return table


def _alike(table: Table, path: str) -> Iterator[Table]:
    """Tasks of the schedule that share a field of the evaluated task, each as `{"task": ..}`."""
    if not path.startswith("task."):
        return
    for phase in table.get("training", {}).get("schedule", ()):
        for task in phase["tasks"]:
            each = {"task": task}
            is_alike = all(_value(each, p) == _value(table, p) for p in ("task.name", path))
            if is_alike:
                yield each


def _value(table: Any, path: str) -> Any:
    for name in path.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    return table


def slug(values: Mapping[str, Any], seed: int) -> str:
    """A readable name of a member: its own values and its seed."""
    parts = [f"{path.rpartition('.')[2]}-{_told(value)}" for path, value in values.items()]
    named = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts))[:60].strip("-.")
    return f"{named}_s{seed}" if named else f"s{seed}"


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(_told, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value.get("name", "table") if isinstance(value, dict) else value)
    return f"{value:g}".replace("+", "")  # 1e+20 would become 1e-20 in a folder's name
