"""A sweep: many experiments that differ in a few settings and in their seeds.

    base = "modular-addition"          # a preset, or a TOML file beside this one
    seeds = 5                          # 0 to 4; or a list
    mode = "grid"                      # every combination; "zip" takes the lists side by side

    [vary]
    "training.weight_decay" = [0.1, 1.0]
    "task.train_fraction" = [0.3, 0.4]

    [analyses.SeedSpread]              # options of results of the whole; [[...]] for several
    scalar = "test.loss"

Each run has a folder inside the sweep's, named by the values that only it has, and a hash.
"""

import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from analyses import ANALYSES
from analyses.requirements import check_options
from hooks.own_classes import trust
from interp.config import (
    Experiment,
    Frozen,
    Name,
    Seeds,
    find_toml,
    load_experiment,
    read_toml,
    readable,
    safe_name,
)
from interp.runs import sweep_analyses
from interp.tasks.data_files import KEPT, REFUSED, is_of_folder, taken_from
from interp.tasks.fields import Seed, Several


def _values(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise ValueError('a table; put the path in quotes: "training.lr" = [0.1, 1.0]')
    if not isinstance(value, list | tuple):
        raise ValueError("give a list of values")
    return value


def _seeds(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return _values(value)
    if value > MAX_RUNS:
        raise ValueError(f"{value} seeds are over {MAX_RUNS}, the most runs of a sweep")
    return tuple(range(value))


def _tables(value: Any) -> Any:
    return (value,) if isinstance(value, Mapping) else value


Tables = Annotated[Several[dict[str, Any]], BeforeValidator(_tables)]
Values = Annotated[Several[Any], BeforeValidator(_values)]
Table = dict[str, Any]
MAX_RUNS = 100_000  # runs of a sweep; each is a folder


class Sweep(Frozen):
    """A base experiment, lists of values by field, and seeds.

    Attributes:
        base: What all runs share.
        vary: Values by the path of a field (`training.lr`).
        mode: grid makes every combination, zip goes through lists of one length side by side.
        seeds: Each sets the seeds of model, data and order; a number n stands for 0 to n - 1.
        analyses: Options of results of the whole by name, a table a result; defaults where empty.
    """

    name: Name
    base: Experiment
    vary: dict[str, Values] = Field(default_factory=dict)
    mode: Literal["grid", "zip"] = "grid"
    seeds: Annotated[Several[Seed], BeforeValidator(_seeds)] = (0,)
    analyses: dict[str, Tables] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_runs(self) -> "Sweep":
        for field, values in self.vary.items():
            if not values:
                raise ValueError(f"vary.{field}: an empty list; give at least one value")
            if field.startswith("seeds"):
                raise ValueError(f"vary.{field}: seeds go into 'seeds', as a number or a list")
        lengths = {field: len(self.vary[field]) for field in self.axes}
        if self.mode == "zip" and len(set(lengths.values())) > 1:
            listed = ", ".join(f"{field} has {length}" for field, length in lengths.items())
            raise ValueError(f"vary: zip needs lists of one length; {listed}")
        if not self.seeds:
            raise ValueError("seeds: none; give a number of at least 1 or a list")
        is_grid = self.mode == "grid"
        combinations = math.prod(lengths.values()) if is_grid else max(lengths.values(), default=1)
        count = combinations * len(self.seeds)
        if count > MAX_RUNS:
            raise ValueError(f"vary: {count} runs, over {MAX_RUNS}: take values or seeds out")
        return self

    @model_validator(mode="after")
    def _analyses_take_their_options(self) -> "Sweep":
        for name, tables in self.analyses.items():
            if name not in sweep_analyses():
                raise ValueError(
                    f"analyses: no '{name}' of a whole sweep; there are "
                    f"{', '.join(sorted(sweep_analyses()))}"
                )
            for options in tables:
                check_options(ANALYSES[name], options)
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that vary, seeds left out."""
        return tuple(field for field, values in self.vary.items() if len(values) > 1)

    def experiments(self) -> dict[str, Experiment]:
        """The experiment of every run, by the name of its folder.

        Raises:
            ValueError: A field is unknown or a value wrong, or two runs are the same.
        """
        return dict(self._by_folder)

    @cached_property
    def _by_folder(self) -> Mapping[str, Experiment]:
        """The experiment of every run; those of one combination share all but name and seeds."""
        by_folder: dict[str, Experiment] = {}
        if not self.base.missing:
            for name in self.base.own_classes.values():  # imported here, and named again below
                trust(name)
        seeds = {seed: Seeds(model=seed, data=seed, order=seed) for seed in self.seeds}
        for values in self._combinations():
            varied = _with_values(self.base, values)
            text = _TextOfRuns.of(varied)
            slug = _slug({axis: values[axis] for axis in self.axes})
            for seed in self.seeds:
                name = f"{slug}s{seed}"
                folder = f"{name}-{text.digest(name, seed)[:8]}"
                if folder in by_folder:
                    raise ValueError(f"two runs are the same: {name}; take out what repeats")
                by_folder[folder] = varied.model_copy(update={"seeds": seeds[seed], "name": name})
        return by_folder

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Sweep":
        """A copy, some fields changed, as of every pydantic model; its runs are its own."""
        copy = super().model_copy(update=update, deep=deep)
        vars(copy).pop("_by_folder", None)
        return copy

    def to_toml(self) -> str:
        """The whole sweep, its base written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def _combinations(self) -> Iterator[dict[str, Any]]:
        """Values by field, one mapping for each combination."""
        rows = itertools.product(*self.vary.values())
        if self.mode == "zip" and self.vary:
            length = max(map(len, self.vary.values()))  # all lists have it, or a single value
            lists = [values * (length // len(values)) for values in self.vary.values()]
            rows = zip(*lists, strict=True)
        return (dict(zip(self.vary, row, strict=True)) for row in rows)


def load_sweep(source: str | Path, relative: Path | str | None = None) -> Sweep:
    """A sweep from a TOML file or the name of a preset.

    Args:
        source: The file, or the name.
        relative: What becomes of relative paths of data files in its base, as for
            `load_experiment`.

    Raises:
        ValueError: The file is not TOML, or a field is unknown or wrong; one line names it.
        FileNotFoundError: Neither a file nor a preset; or its base is neither.
    """
    path = find_toml(source, "sweeps", "sweep")
    table = read_toml(path)
    base = table.get("base")
    is_users = relative is None and not is_of_folder(path)
    rule = relative or path.parent
    if isinstance(base, str):
        beside = path.parent / base
        asked = beside if beside.is_file() else base
        table["base"] = load_experiment(asked, None if is_users else relative or KEPT)
    try:
        sweep = Sweep.model_validate(
            {"name": safe_name(path.stem)} | table,
            context=taken_from(rule, path.parent, is_users=is_users),
        )
        sweep.experiments()
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error).removeprefix('experiment: ')}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return sweep


def sweep_of_seeds(base: Experiment, count: int) -> Sweep:
    """The seeds 0 to count - 1 of one experiment.

    Raises:
        ValueError: They are too many.
    """
    try:
        return Sweep.model_validate({"name": base.name, "base": base, "seeds": count})
    except ValidationError as error:
        raise ValueError(readable(error)) from None


def _with_values(base: Experiment, values: Mapping[str, Any]) -> Experiment:
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
        for changed in [*_tasks_that_share(table, path), table]:
            _table_at(changed, above, f"vary.{path}")[field] = value
    # The base of an older version's sweep may have relative paths: its runs keep them.
    is_whole = all(Path(file).is_absolute() for file in base.data_files.values())
    try:
        return Experiment.model_validate(table, context=taken_from(REFUSED if is_whole else KEPT))
    except ValidationError as error:
        listed = " · ".join(f"{path} = {value}" for path, value in values.items())
        raise ValueError(f"vary: {readable(error)}, with {listed}") from None


def _table_at(table: Table, names: list[str], field: str) -> Table:
    """The table at a path, made where missing; messages name the field that led there."""
    for name in names:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{field}: {name} is no table")
    return table


def _tasks_that_share(table: Table, path: str) -> Iterator[Table]:
    """Tasks of the schedule that share a field of the evaluated task, each as `{"task": ..}`."""
    if not path.startswith("task."):
        return
    for phase in table.get("training", {}).get("schedule", ()):
        for task in phase["tasks"]:
            scheduled = {"task": task}
            if all(_value_at(scheduled, p) == _value_at(table, p) for p in ("task.name", path)):
                yield scheduled


def _value_at(table: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for name in path.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    return table


@dataclass(frozen=True)
class _TextOfRuns:
    """The TOML text that runs of one combination of values share, around their name and seeds.

    Writing TOML takes longer than all else that a sweep does for a run.

    Attributes:
        before: Between the name, in the first line, and the seeds.
        after: After the seeds.
    """

    before: str
    after: str

    @classmethod
    def of(cls, experiment: Experiment) -> "_TextOfRuns":
        """The text of an experiment, without its name and its seeds."""
        _, _, text = experiment.to_toml().partition("\n")
        before, _, text = text.partition("\n[seeds]\n")  # a line that no text of a value makes
        _, _, _, after = text.split("\n", len(Seeds.model_fields))
        return cls(before, after)

    def digest(self, name: str, seed: int) -> str:
        """`Experiment.digest` of a run."""
        seeds = "".join(f"{field} = {seed}\n" for field in Seeds.model_fields)
        text = f'name = "{name}"\n{self.before}\n[seeds]\n{seeds}{self.after}'
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _slug(values: Mapping[str, Any]) -> str:
    """The readable beginning of a run's name, before its seed: the values that vary."""
    parts = [f"{path.rpartition('.')[2]}-{_in_name(value)}" for path, value in values.items()]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts))[:60].strip("-.")
    return f"{name}_" if name else ""


def _in_name(value: Any) -> str:
    """A value as a folder's name shows it."""
    if isinstance(value, list | tuple):
        return "-".join(map(_in_name, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value.get("name", "table") if isinstance(value, dict) else value)
    return f"{value:g}".replace("+", "")  # 1e+20 would become 1e-20 in a folder's name
