"""What an experiment is: everything that changes the numbers, and nothing else.

Frozen, read from TOML, written back to TOML. Unknown keys are refused; errors name the field.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from hooks.messages import did_you_mean
from hooks.models import ModelConfig, TokenConfig
from hooks.models.base import MissingConfig
from hooks.own_classes import is_reference
from interp.config.training import AnyTask, Frozen, Seeds, Training
from interp.presets import PRESETS, preset_names
from interp.tasks import Task
from interp.tasks.base import SEES_PADDING, MissingTask
from interp.tasks.data_files import KEPT, is_of_folder, taken_from

MAX_VALUE_CHARS = 200  # characters of a wrong value that a message shows
MAX_MESSAGE_CHARS = 1000  # pydantic's own messages repeat some values whole
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")


def _name(value: str) -> str:
    # The run folder bears this name, so a path that leads elsewhere is refused.
    if not NAME.fullmatch(value):
        raise ValueError(
            "1 to 80 letters, digits, dots, dashes and underscores, the first not a dot"
        )
    return value


Name = Annotated[str, AfterValidator(_name)]


class Experiment(Frozen):
    """A task, a model, how it is trained, and options for its analyses.

    Attributes:
        name: Names the run folder, so it holds no more than letters, digits, `.`, `-` and `_`.
        training: Left out for imported and constructed models.
        analyses: Options by analysis name, where they differ from the defaults.
    """

    name: Name
    task: AnyTask
    model: ModelConfig = TokenConfig()
    training: Training | None = None
    seeds: Seeds = Seeds()
    analyses: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _phases_name_their_tasks(cls, table: Any) -> Any:
        """An experiment's table in which the schedule's tasks have all their fields.

        A task of the schedule without a name is the evaluated task with the given fields changed.
        """
        if not isinstance(table, Mapping):
            return table
        task, training = table.get("task"), table.get("training")
        if isinstance(task, Task):
            task = {"name": task.name} | task.model_dump(exclude_unset=True)
        if not isinstance(training, Mapping) or not isinstance(task, Mapping):
            return table  # the fields' own checks refuse what is wrong with it

        def completed(changes: Any) -> Any:
            is_nameless = isinstance(changes, Mapping) and "name" not in changes
            return {**task, **changes} if is_nameless else changes

        schedule = training.get("schedule", ())
        if not isinstance(schedule, list | tuple):
            return table
        phases = [
            {**phase, "tasks": [completed(changes) for changes in phase["tasks"]]}
            if isinstance(phase, Mapping) and isinstance(phase.get("tasks"), list | tuple)
            else phase
            for phase in schedule
        ]
        return {**table, "training": {**training, "schedule": phases}}

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        training = self.training
        if training is None:
            return self
        tasks = [task for phase in training.schedule for task in phase.tasks] or [self.task]
        if any(isinstance(task, MissingTask) for task in (self.task, *tasks)):
            return self  # whoever asks it for more is told why there is none
        if any(task.sizes != self.task.sizes for task in tasks):
            raise ValueError("every task of the schedule must share the evaluated task's sizes")
        for task in tasks:
            task.check_trainable()
        if any(task.train_count is None for task in tasks):
            training.require_batch_size("this task's data are endless")
        if any(len(phase.tasks) > 1 for phase in training.schedule):
            training.require_batch_size("a mixture of tasks is drawn by batches")
        metrics = [f"{split}.{name}" for split in self.task.evaluated for name in self.task.metrics]
        if training.stop and training.stop.metric not in metrics:
            raise ValueError(
                f"training.stop.metric: no metric '{training.stop.metric}'; "
                f"there are {', '.join(metrics)}"
            )
        return self

    @model_validator(mode="after")
    def _padding_is_not_seen(self) -> "Experiment":
        if getattr(self.model, "attention_dir", "causal") != "causal" and self.task.is_padded:
            raise ValueError(f"task: {SEES_PADDING}")
        return self

    @model_validator(mode="after")
    def _analyses_take_their_options(self) -> "Experiment":
        if self.analyses:
            from analyses import ANALYSES  # heavy, and needed by few experiments
            from analyses.requirements import check_options

            for name, options in self.analyses.items():
                if name not in ANALYSES:
                    raise ValueError(
                        f"analyses: no '{name}'; there are {', '.join(ANALYSES)}"
                        f"{did_you_mean(name, ANALYSES)}"
                    )
                check_options(ANALYSES[name], options)
        return self

    def require_training(self) -> Training:
        """How the experiment's model is trained.

        Raises:
            ValueError: The experiment has no training.
        """
        if self.training is None:
            raise ValueError(f"experiment {self.name} has no [training] table to train by")
        return self.training

    @property
    def data_files(self) -> dict[str, str]:
        """Paths of the files that the tasks read, by the field that names them (`task.train`)."""
        return {
            f"{place}.{role}": path
            for place, task in self._tasks.items()
            for role, path in task.data_files.items()
        }

    @property
    def own_classes(self) -> dict[str, str]:
        """References of the user's own classes, by the field that names them (`task.name`)."""
        named = {f"{place}.name": task.name for place, task in self._tasks.items()}
        named["model.kind"] = self.model.kind
        return {place: name for place, name in named.items() if is_reference(name)}

    @property
    def missing(self) -> str:
        """Which class of the user's own, or data file, a run lacks; empty if all are there."""
        parts = (*self._tasks.values(), self.model)
        reasons = [part.reason for part in parts if isinstance(part, MissingTask | MissingConfig)]
        return "; ".join(dict.fromkeys(reasons))

    @property
    def _tasks(self) -> dict[str, Task]:
        """The evaluated task and those of the schedule, by the field they stand in."""
        scheduled = {
            f"training.schedule.{n}.tasks.{i}": task
            for n, phase in enumerate(self.training.schedule if self.training else ())
            for i, task in enumerate(phase.tasks)
        }
        return {"task": self.task} | scheduled

    @property
    def digest(self) -> str:
        """A short hash of everything in the experiment."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()[:12]

    @property
    def fields(self) -> dict[str, Any]:
        """Every setting by its path (`training.lr`), without the settings that have no value."""
        return _flat(self.model_dump(mode="json", exclude_none=True))

    def to_toml(self) -> str:
        """The whole experiment with today's defaults, so that later defaults do not change it."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment with all three seeds set to one number.

        Raises:
            ValueError: The number is negative, or 2^63 or more.
        """
        try:
            seeds = Seeds(model=seed, data=seed, order=seed)
        except ValidationError as error:
            raise ValueError(f"seed: {readable(error)}") from None
        return self.model_copy(update={"seeds": seeds})


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        path = f"{above}{name}"
        flat |= _flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def load_experiment(source: str | Path, relative: Path | str | None = None) -> Experiment:
    """An experiment from a TOML file or the name of a preset.

    Args:
        source: The file, or the name.
        relative: Where relative paths of data files start (`interp.tasks.data_files`): the TOML
            file's folder where left out.

    Raises:
        ValueError: The file is not TOML, or a field is unknown or wrong; one line names it.
        FileNotFoundError: Neither a file nor a preset.
    """
    path = find_toml(source)
    table = read_toml(path)
    is_of_run = path.name == "experiment.toml" and (path.parent / "checkpoints").is_dir()
    rule = relative or (KEPT if is_of_run else path.parent)
    is_users = relative is None and not is_of_folder(path)
    try:
        return Experiment.model_validate(
            {"name": safe_name(path.stem)} | table,
            context=taken_from(rule, run=path.parent, is_users=is_users),
        )
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error)}") from None


def find_toml(source: str | Path, folder: str = ".", kind: str = "preset") -> Path:
    """A TOML file, given by its path or by the name of one that comes with the package.

    Args:
        source: The path, or the name.
        folder: Where among the presets it is looked for.
        kind: What messages call the files of that folder.

    Raises:
        FileNotFoundError: Neither a file nor a name; the message lists the names.
    """
    path = Path(source)
    if not path.is_file():
        path = PRESETS / folder / f"{source}.toml"
    if not path.is_file():
        names = preset_names(folder)
        raise FileNotFoundError(
            f"{source} is neither a TOML file nor a {kind}; {kind}s: {', '.join(names)}"
            f"{did_you_mean(source, names)}"
        )
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
        ValueError: It is not TOML, or nested too deeply; the message names the file.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # of the parser, of the decoder, of whole numbers of many digits
        raise ValueError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply: take tables or lists out") from None


def safe_name(text: str) -> str:
    """A text as the name of an experiment: what may not stand in one becomes dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".")[:80] or "experiment"


def readable(error: ValidationError) -> str:
    """The first fault of a validation in one line, and how many more there are."""
    first, *more = error.errors()
    place = " ".join(".".join(str(part) for part in first["loc"]).split()) or "experiment"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key; remove it or check its spelling"
    if len(message) > MAX_MESSAGE_CHARS:
        message = f"{message[: MAX_MESSAGE_CHARS // 2]}..{message[-MAX_MESSAGE_CHARS // 2 :]}"
    is_table = isinstance(first["input"], dict | BaseModel)
    value = "" if is_table else f" (got {_shortened(first['input'])})"
    return f"{place}: {message}{value}" + (f" (and {len(more)} more)" if more else "")


def _shortened(value: Any) -> str:
    """A value as a message shows it: the beginning of a long one."""
    is_huge = isinstance(value, int) and value.bit_length() > 500  # Python refuses to write it
    text = f"a number of {value.bit_length()} bits" if is_huge else repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}.."
