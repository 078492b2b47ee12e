"""What an experiment is: everything that changes the numbers, and nothing else.

Frozen, read from TOML, written back to TOML. Unknown keys are refused; errors name the field.
"""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from hooks import ModelConfig
from interp.tasks import TASKS, Task

PRESETS = Path(__file__).parent / "presets"
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")


def _task(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    name = value.get("name")
    if name is None:
        raise ValueError(f"name is missing; there are {', '.join(TASKS)}")
    if name not in TASKS:
        raise ValueError(f"no task '{name}'; there are {', '.join(TASKS)}")
    return TASKS[name].model_validate(value)


def _name(value: str) -> str:
    # It names the run folder, so it must not be a way to somewhere else.
    if not NAME.fullmatch(value):
        raise ValueError(
            "1 to 80 letters, digits, dots, dashes and underscores, the first not a dot"
        )
    return value


Name = Annotated[str, AfterValidator(_name)]
Beta = Annotated[float, Field(ge=0, lt=1)]
AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(_task)]


class Frozen(BaseModel):
    """A frozen table of the TOML file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Steps(Frozen):
    """Which steps: every so many, so many on a logarithmic grid, or a list. Step 0 is in all."""

    every: int | None = Field(default=None, ge=1)
    logarithmic: int | None = Field(default=None, ge=2)
    listed: tuple[NonNegativeInt, ...] | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> "Steps":
        if sum(value is not None for value in (self.every, self.logarithmic, self.listed)) != 1:
            raise ValueError("give one of every, logarithmic and listed")
        return self

    def up_to(self, last: int) -> frozenset[int]:
        """The steps from 0 to `last`, both included."""
        if self.every is not None:
            chosen = range(0, last, self.every)
        elif self.logarithmic is not None:
            above_zero = self.logarithmic - 1
            chosen = (round(last ** (i / (above_zero - 1))) for i in range(above_zero - 1))
        else:
            chosen = (step for step in self.listed or () if step <= last)
        return frozenset({0, *chosen, last})


class Stop(Frozen):
    """Train on for `extra_steps` after a metric has held its level for several evaluations.

    The crossing is the first of `evaluations` successive evaluations at or above `at_least`:
    single evaluations spike and dip at the learning rates that grok fast.
    """

    metric: str = "test.accuracy"
    at_least: float = 0.99
    evaluations: int = Field(default=3, ge=1)
    extra_steps: int = Field(default=0, ge=0)


class Phase(Frozen):
    """A stretch of training on other data than the evaluated task's: one task, for so many steps.

    `weights`, the shares of several tasks in a mixture, must be left out while there is but one.
    """

    steps: int = Field(ge=1)
    tasks: tuple[AnyTask, ...] = Field(min_length=1, max_length=1)
    weights: tuple[float, ...] | None = Field(default=None, max_length=0)


class Seeds(Frozen):
    """Separate seeds: of the initial weights, of the data and their split, of the batch order."""

    model: int = Field(default=0, ge=0)
    data: int = Field(default=0, ge=0)
    order: int = Field(default=0, ge=0)


class Training(Frozen):
    """How a model is trained.

    Attributes:
        steps: Optimiser updates, at most.
        optimizer: adamw decouples weight decay from the gradient, adam does not.
        warmup_steps: Update t (from 0) runs at lr min(t / warmup_steps, 1), so the first is idle.
        batch_size: Examples an update; the whole training set where left out.
        chunk: Batches drawn at a time where a task's data are endless.
        frozen: Parameters that stay as initialised, by name pattern (`*.b_*`).
        dtype: Of parameters and activations.
        loss_dtype: In which the loss is computed; float32 quantises it below 1e-7.
        loss_scale: What the loss is multiplied by; recorded metrics are not.
        evaluate: When metrics are recorded.
        checkpoints: When the model is kept.
        stop: When training may end early.
        schedule: Training data by stretch of steps; the evaluated task's where left out.
    """

    steps: int = Field(ge=1)
    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    chunk: int = Field(default=64, ge=1)
    frozen: tuple[str, ...] = ()
    dtype: Literal["float32", "float64"] = "float32"
    loss_dtype: Literal["float32", "float64"] = "float64"
    loss_scale: float = Field(default=1.0, gt=0)
    evaluate: Steps = Steps(every=100)
    checkpoints: Steps = Steps(logarithmic=15)
    stop: Stop | None = None
    schedule: tuple[Phase, ...] = ()

    @model_validator(mode="after")
    def _schedule_covers_training(self) -> "Training":
        total = sum(phase.steps for phase in self.schedule)
        if self.schedule and total != self.steps:
            raise ValueError(f"schedule covers {total} steps, steps says {self.steps}")
        return self


class Experiment(Frozen):
    """A task, a model, how it is trained, and options for its analyses.

    Attributes:
        name: Names the run folder, so it holds no more than letters, digits, `.`, `-` and `_`.
        training: Left out for imported and constructed models.
        analyses: Options by analysis name, where they differ from the defaults.
    """

    name: Name
    task: AnyTask
    model: ModelConfig = ModelConfig()
    training: Training | None = None
    seeds: Seeds = Seeds()
    analyses: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        training = self.training
        if training is None:
            return self
        tasks = [task for phase in training.schedule for task in phase.tasks] or [self.task]
        if any(task.sizes != self.task.sizes for task in tasks):
            raise ValueError("every task of the schedule must share the evaluated task's sizes")
        if training.batch_size is None and any(task.train_count is None for task in tasks):
            raise ValueError("this task's data are endless: give training.batch_size")
        split = training.stop.metric.partition(".")[0] if training.stop else None
        if split not in (None, *self.task.evaluated):
            known = ", ".join(self.task.evaluated)
            raise ValueError(f"training.stop.metric: split '{split}' is not evaluated; {known} are")
        return self

    @model_validator(mode="after")
    def _analyses_take_their_options(self) -> "Experiment":
        if self.analyses:
            from analyses import ANALYSES  # heavy, and needed by few experiments
            from analyses.options import check_options

            for name, options in self.analyses.items():
                if name not in ANALYSES:
                    raise ValueError(f"analyses: no '{name}'; there are {', '.join(ANALYSES)}")
                check_options(ANALYSES[name], options)
        return self

    @property
    def digest(self) -> str:
        """A short hash of everything in the experiment."""
        return hashlib.sha256(self.to_toml().encode()).hexdigest()[:12]

    def to_toml(self) -> str:
        """The whole experiment, defaults included, so that it outlives them."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment with all three seeds set to one number."""
        return self.model_copy(update={"seeds": Seeds(model=seed, data=seed, order=seed)})


def load_experiment(source: str | Path) -> Experiment:
    """An experiment from a TOML file or the name of a preset.

    Raises:
        ValueError: The file is not TOML, or a field is unknown or wrong; one line names it.
        FileNotFoundError: Neither a file nor a preset.
    """
    path = Path(source)
    if not path.is_file():
        path = PRESETS / f"{source}.toml"
    if not path.is_file():
        raise FileNotFoundError(
            f"{source} is neither a TOML file nor a preset; presets: {', '.join(preset_names())}"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    try:
        return Experiment.model_validate({"name": safe_name(path.stem)} | table)
    except ValidationError as error:
        raise ValueError(f"{path}: {readable(error)}") from None


def safe_name(text: str) -> str:
    """A text as the name of an experiment: what may not stand in one becomes dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".")[:80] or "experiment"


def preset_names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset_summary(name: str) -> str:
    """What a preset says of itself in its first line."""
    return (PRESETS / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0].strip("# ")


def readable(error: ValidationError) -> str:
    """The first fault of a validation in one line, and how many more there are."""
    first, *more = error.errors()
    place = ".".join(str(part) for part in first["loc"]) or "experiment"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key; remove it or check its spelling"
    came = "" if isinstance(first["input"], dict | BaseModel) else f" (got {first['input']!r})"
    return f"{place}: {message}{came}" + (f" (and {len(more)} more)" if more else "")
