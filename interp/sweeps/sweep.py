"""A sweep: many experiments that differ in a few settings and in their seeds.

    base = "modular-addition"          # a preset, or a TOML file beside this one
    seeds = 5                          # 0 to 4; or a list
    mode = "grid"                      # every combination; "zip" takes the lists side by side

    [vary]
    "training.weight_decay" = [0.1, 1.0]
    "task.train_fraction" = [0.3, 0.4]

    [analyses.SeedSpread]              # options of results of the whole; [[...]] for several
    scalar = "test.loss"

Each member is a run folder inside the sweep's, named by what is its own and a hash of it.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from interp.config.experiment import (
    PRESETS,
    Experiment,
    Name,
    load_experiment,
    preset_names,
    read_toml,
    readable,
    safe_name,
)
from interp.config.training import Frozen
from interp.runs.run import Run
from interp.sweeps.variations import slug, with_values
from interp.tasks.data_files import KEPT, taken_from
from interp.tasks.fields import Seed, Several
from interp.training.loop import is_done_with


def _values(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise ValueError('a table; put the path in quotes: "training.lr" = [0.1, 1.0]')
    if not isinstance(value, list | tuple):
        raise ValueError("give a list of values")
    return value


def _seeds(value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return _values(value)
    if value > MOST_MEMBERS:
        raise ValueError(f"{value} seeds are over {MOST_MEMBERS}, the most members of a sweep")
    return tuple(range(value))


def _tables(value: Any) -> Any:
    return (value,) if isinstance(value, Mapping) else value


Tables = Annotated[Several[dict[str, Any]], BeforeValidator(_tables)]
Values = Annotated[Several[Any], BeforeValidator(_values)]
MOST_MEMBERS = 100_000  # each is a folder


class Sweep(Frozen):
    """A base experiment, lists of values by field, and seeds.

    Attributes:
        base: What all members share.
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
    def _has_members(self) -> "Sweep":
        for field, values in self.vary.items():
            if not values:
                raise ValueError(f"vary.{field}: an empty list; give at least one value")
            if field.startswith("seeds"):
                raise ValueError(f"vary.{field}: seeds go into 'seeds', as a number or a list")
        lengths = {field: len(self.vary[field]) for field in self.axes}
        if self.mode == "zip" and len(set(lengths.values())) > 1:
            told = ", ".join(f"{field} has {length}" for field, length in lengths.items())
            raise ValueError(f"vary: zip needs lists of one length; {told}")
        if not self.seeds:
            raise ValueError("seeds: none; give a number of at least 1 or a list")
        made = (
            math.prod(lengths.values()) if self.mode == "grid" else max(lengths.values(), default=1)
        )
        if made * len(self.seeds) > MOST_MEMBERS:
            count = f"{made * len(self.seeds)} members"
            raise ValueError(f"vary: {count}, over {MOST_MEMBERS}: take values or seeds out")
        return self

    @model_validator(mode="after")
    def _analyses_take_their_options(self) -> "Sweep":
        if self.analyses:
            from analyses import ANALYSES, SweepResult  # heavy, and needed by few sweeps
            from analyses.requirements import check_options

            of_all = {name for name, cls in ANALYSES.items() if issubclass(cls, SweepResult)}
            for name, tables in self.analyses.items():
                if name not in of_all:
                    there = ", ".join(sorted(of_all))
                    raise ValueError(f"analyses: no '{name}' of a whole sweep; there are {there}")
                for options in tables:
                    check_options(ANALYSES[name], options)
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """The fields that vary, seeds left out."""
        return tuple(field for field, values in self.vary.items() if len(values) > 1)

    def members(self) -> dict[str, Experiment]:
        """Every experiment by the name of its folder.

        Raises:
            ValueError: A field is unknown or a value wrong, or two members are the same.
        """
        found: dict[str, Experiment] = {}
        for values in self._combinations():
            experiment = with_values(self.base, values)
            for seed in self.seeds:
                named = slug({name: values[name] for name in self.axes}, seed)
                member = experiment.with_seed(seed).model_copy(update={"name": named})
                folder = f"{named}-{member.digest[:8]}"
                if folder in found:
                    raise ValueError(f"two members are the same: {named}; take out what repeats")
                found[folder] = member
        return found

    def to_toml(self) -> str:
        """The whole sweep, its base written out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def _combinations(self) -> Iterator[dict[str, Any]]:
        rows = itertools.product(*self.vary.values())
        if self.mode == "zip" and self.vary:
            most = max(map(len, self.vary.values()))
            rows = zip(*(each * (most // len(each)) for each in self.vary.values()), strict=True)
        for row in rows:
            yield dict(zip(self.vary, row, strict=True))


@dataclass(frozen=True)
class SweepFolder:
    """A sweep on disk: `sweep.toml`, a run folder a member, and results of the whole.

    Attributes:
        path: The folder.
        sweep: What is swept.
    """

    path: Path
    sweep: Sweep

    def members(self) -> dict[Path, Experiment]:
        """Experiments by run folder."""
        return {self.path / name: each for name, each in self.sweep.members().items()}

    def failed(self) -> list[Run]:
        """Members that could not be finished (`Run.failure`)."""
        return [run for run in map(Run, self.members()) if run.failure]

    def left(self) -> dict[Path, Experiment]:
        """Members that are neither finished nor failed."""
        return {path: each for path, each in self.members().items() if not is_done_with(path, each)}


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
    path = Path(source)
    if not path.is_file():
        path = PRESETS / "sweeps" / f"{source}.toml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{source} is neither a TOML file nor a sweep; sweeps: {', '.join(sweep_names())}"
        )
    table = read_toml(path)
    base = table.get("base")
    if isinstance(base, str):
        beside = path.parent / base
        table["base"] = load_experiment(beside if beside.is_file() else base)
    try:
        sweep = Sweep.model_validate(
            {"name": safe_name(path.stem)} | table, context=taken_from(relative or path.parent)
        )
        sweep.members()
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


def sweep_names() -> list[str]:
    """Names of the sweeps that come with the package."""
    return preset_names("sweeps")


def find_sweep(path: str | Path) -> SweepFolder | None:
    """The sweep whose folder this is, or None."""
    file = Path(path) / "sweep.toml"
    return SweepFolder(Path(path), load_sweep(file, KEPT)) if file.is_file() else None
