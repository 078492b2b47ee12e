"""In what the experiments of a report differ: what a reader of a sweep wants to see of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from interp.config.experiment import Experiment
from interp.pages.tables import brief, shown

SEEDS = ("seeds.model", "seeds.data", "seeds.order")


def differences(
    experiments: Sequence[Experiment], *, without: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The settings of each experiment that are not the same in all; names made readable.

    The name of an experiment is none of them. Seeds that always agree count as one.

    Args:
        experiments: The experiments.
        without: Paths of settings (`task.name`) that are told elsewhere.
    """
    tables = [_flat(each.model_dump(mode="json", exclude_none=True)) for each in experiments]
    if all(len({table[seed] for seed in SEEDS}) == 1 for table in tables):
        tables = [_with_one_seed(table) for table in tables]
    names = dict.fromkeys(name for table in tables for name in table)
    values = {name: {str(table.get(name)) for table in tables} for name in names}
    varied = [name for name in names if len(values[name]) > 1 and name not in without]
    return [
        {_words(name, varied): table[name] for name in varied if name in table} for table in tables
    ]


def told(settings: Mapping[str, Any]) -> list[str]:
    """Settings in a few words each."""
    return [f"{name} {shown(brief(value))}" for name, value in settings.items()]


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings by path."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        elif above or name != "name":
            flat[f"{above}{name}"] = value
    return flat


def _with_one_seed(table: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in table.items() if name not in SEEDS}
    return rest | {"seed": table[SEEDS[0]]}


def _words(path: str, others: Sequence[str]) -> str:
    """The last part of a path, or all of it where another setting ends alike."""
    if path in SEEDS:
        return f"{path.rpartition('.')[2]} seed"
    last = path.rpartition(".")[2]
    alike = sum(other.rpartition(".")[2] == last for other in others) > 1
    return (path.replace(".", " ") if alike else last).replace("_", " ")
