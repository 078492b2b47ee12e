"""How a model is trained: the tables `[training]` and `[seeds]` of an experiment."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    model_validator,
)

from hooks.own_classes import (
    RELATIVE,
    class_in,
    is_named_by_user,
    is_reference,
    placed,
    reference_to,
)
from interp.tasks import TASKS, Task
from interp.tasks.base import MissingTask
from interp.tasks.data_files import KEPT, stamp_of
from interp.tasks.fields import (
    STRICT,
    Count,
    Number,
    Pair,
    Scale,
    Seed,
    Several,
    StepCount,
    Updates,
)


def _task(value: Any, info: Any) -> Any:  # pydantic's own info, whose class fails runtime checks
    if not isinstance(value, dict):
        return value
    name = value.get("name")
    if name is None:
        raise ValueError(f"name is missing; there are {', '.join(TASKS)}")
    if is_reference(name):
        return _own_task(value, info.context)
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"no task '{name}'; there are {', '.join(TASKS)}")
    return _with_its_files(TASKS[name], value, info.context)


def _own_task(table: dict[str, Any], context: Any) -> Task:
    try:
        cls = class_in(context, table["name"], Task)
        if cls is Task or issubclass(cls, MissingTask):
            raise ValueError(f"{table['name']} is itself no task: name a class of your own")
    except ValueError as error:
        if is_named_by_user(context):
            raise
        reference = placed(table["name"], context)
        return MissingTask.of({**table, "name": reference}, f"task.name: {error}")
    if not cls.model_fields["name"].is_required():
        raise ValueError(
            f"{cls.__name__} has the name {cls.model_fields['name'].default!r}, its own or that of "
            "a task it inherits from: a task of your own is called by where it is, so leave `name` "
            "out, or write `name: str` where it is inherited"
        )
    return _with_its_files(cls, {**table, "name": reference_to(cls)}, context)


def _with_its_files(cls: type[Task], table: dict[str, Any], context: Any) -> Task:
    """A task; of a run whose data file is gone, what stands for it."""
    if (context or {}).get(RELATIVE) != KEPT:
        return cls.model_validate(table, context=context)
    try:
        task = cls.model_validate(table, context=context)
        for file in task.data_files.values():
            stamp_of(file)  # raises where there is no such file
    except FileNotFoundError as error:
        remedy = "put it back, if its path is relative beside the run's experiment.toml"
        return MissingTask.of(table, f"task: {error}: {remedy}", lacks_file=True)
    return task


Beta = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(ge=1e-30, le=1e30)]  # in float32 neither 0 nor infinity
Penalty = Annotated[float, Field(ge=0, le=1e30)]
MAX_CHOSEN_STEPS = 10**7  # steps of one training at which metrics, or checkpoints, are recorded
AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(_task)]


class Frozen(BaseModel):
    """A frozen table of the TOML file; unknown keys and values of other types are refused."""

    model_config = STRICT


class Steps(Frozen):
    """A choice of steps: one in `every`, a `logarithmic` grid, or the steps `listed`.

    Step 0 is always among them.

    Attributes:
        every: The distance between neighbouring steps.
        logarithmic: How many steps the logarithmic grid has.
        listed: The steps themselves.
    """

    every: Updates | None = None
    logarithmic: int | None = Field(default=None, ge=2, le=MAX_CHOSEN_STEPS)
    listed: Several[StepCount] | None = None

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
    """A rule that ends training `extra_steps` after a metric has held its level.

    The crossing is the first of `evaluations` successive evaluations at which the level is held:
    single evaluations spike and dip at the learning rates that grok fast. A metric that is not a
    number, or is missing, does not hold it.

    Attributes:
        metric: `<split>.<metric>`.
        at_least: The level of a metric that rises, such as an accuracy: 0.99 where left out.
        at_most: The level of a metric that falls, a loss or an error.
        evaluations: How many successive evaluations must hold it.
        extra_steps: Updates after the first of them.
    """

    metric: str = "test.accuracy"
    at_least: Number | None = None
    at_most: Scale | None = None
    evaluations: Updates = 3
    extra_steps: StepCount = 0

    @model_validator(mode="before")
    @classmethod
    def _rises_to_99_percent(cls, table: Any) -> Any:
        """The default level, written into the table so that its file says what ended training."""
        if not isinstance(table, Mapping) or table.keys() & {"at_least", "at_most"}:
            return table
        return table if _falls(table.get("metric")) else {**table, "at_least": 0.99}

    @model_validator(mode="after")
    def _level_fits_the_metric(self) -> "Stop":
        wanted = "at_most" if _falls(self.metric) else "at_least"
        levels = {"at_least": self.at_least, "at_most": self.at_most}
        if [name for name, level in levels.items() if level is not None] != [wanted]:
            why = "falls" if wanted == "at_most" else "rises"
            raise ValueError(f"{self.metric} {why} in training: give {wanted}, and it alone")
        if self.at_least is not None and not 0 <= self.at_least <= 1:
            raise ValueError(f"at_least {self.at_least:g}: {self.metric} is 1 at most; give 0 to 1")
        return self

    def is_held(self, row: Mapping[str, float]) -> bool:
        """Whether the metrics of an evaluation hold the level."""
        value = row.get(self.metric, math.nan)
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


def _falls(metric: Any) -> bool:
    """Whether a metric, named with its split, is better the lower it is."""
    return isinstance(metric, str) and metric.rpartition(".")[2] in ("loss", "error")


class Phase(Frozen):
    """Some successive steps of training on data of one task, or of a mixture of tasks.

    Attributes:
        steps: Optimiser updates.
        tasks: The tasks trained on. In an experiment's file a table without a name is the evaluated
            task with these fields changed.
        weights: The expected share of each task in the mixture; equal shares where left out.
        reset_optimizer: Whether the optimiser forgets its moments when the phase begins.
    """

    steps: Updates
    tasks: Several[AnyTask] = Field(min_length=1)
    weights: Several[Scale] | None = None
    reset_optimizer: bool = False

    @model_validator(mode="after")
    def _can_be_mixed(self) -> "Phase":
        if self.weights is not None and len(self.weights) != len(self.tasks):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.tasks)} tasks; one each")
        of_many_lengths = [task.name for task in self.tasks if task.widths]
        if of_many_lengths and len(self.tasks) > 1:
            raise ValueError(
                f"tasks: examples of {of_many_lengths[0]} differ in length and cannot be mixed; "
                "give each task a stretch of its own"
            )
        return self


class Seeds(Frozen):
    """The seeds of the initial weights, of the data and their split, and of the batch order."""

    model: Seed = 0
    data: Seed = 0
    order: Seed = 0


class Training(Frozen):
    """How a model is trained.

    Attributes:
        steps: Optimiser updates, at most.
        optimizer: adamw decouples both penalties from the gradient (Loshchilov and Hutter 2019,
            arXiv:1711.05101): each shrinks weights by lr times its gradient before the update.
            adam and sgd add them to the gradient.
        betas: Decay rates of the moments of adamw and adam.
        eps: Added to the root of the second moment by adamw and adam.
        momentum: Of sgd.
        weight_decay: L2 penalty: the coefficient of w.
        l1: L1 penalty: the coefficient of sign(w).
        grad_clip: The largest norm of the loss' gradient, over all trained parameters, before
            penalties are added; no clipping where left out.
        init_scale: What initial weight matrices are multiplied by (vectors are not).
        warmup_steps: Update t (from 0) runs at lr min(t / warmup_steps, 1), so the first is idle.
        lr_decay: How lr falls after the warm-up, to 0 at `lr_decay_steps`.
        lr_decay_steps: `steps` where left out.
        batch_size: Examples in each update; the whole training set where left out.
        chunk: How many batches are drawn at a time where a task's data are endless.
        frozen: Parameters that stay as initialised, by name pattern (`*.b_*`).
        dtype: The type of parameters and activations.
        matmul: Precision of float32 products on a GPU: highest is float32, high takes TF32,
            medium bfloat16 (torch.set_float32_matmul_precision).
        loss_dtype: The type in which the loss is computed; float32 quantises it below 1e-7.
        loss_scale: What the loss is multiplied by before gradients; recorded metrics are not.
        evaluate: When metrics are recorded.
        checkpoints: When the model is kept.
        stop: When training may end early.
        schedule: Phases with training data of their own; the evaluated task's where left out.
    """

    steps: Updates
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Factor = 1e-3
    betas: Pair[Beta] = (0.9, 0.999)
    eps: Factor = 1e-8
    momentum: Beta = 0.0
    weight_decay: Penalty = 0.0
    l1: Penalty = 0.0
    grad_clip: Factor | None = None
    init_scale: Factor = 1.0
    warmup_steps: StepCount = 0
    lr_decay: Literal["linear", "cosine"] | None = None
    lr_decay_steps: Updates | None = None
    batch_size: Count | None = None
    chunk: Count = 64
    frozen: Several[str] = ()
    dtype: Literal["float32", "float64"] = "float32"
    matmul: Literal["highest", "high", "medium"] = "highest"
    loss_dtype: Literal["float32", "float64"] = "float64"
    loss_scale: Factor = 1.0
    evaluate: Steps = Steps(every=100)
    checkpoints: Steps = Steps(logarithmic=15)
    stop: Stop | None = None
    schedule: Several[Phase] = ()

    @model_validator(mode="after")
    def _schedule_covers_training(self) -> "Training":
        total = sum(phase.steps for phase in self.schedule)
        if self.schedule and total != self.steps:
            raise ValueError(f"schedule covers {total} steps, steps says {self.steps}")
        return self

    @model_validator(mode="after")
    def _numbers_can_be_computed(self) -> "Training":
        for name in ("evaluate", "checkpoints"):
            every = getattr(self, name).every
            if every is not None and self.steps // every > MAX_CHOSEN_STEPS:
                raise ValueError(
                    f"{name}: every {every} of {self.steps} steps is {self.steps // every} times, "
                    f"over {MAX_CHOSEN_STEPS}: raise it"
                )
        for name in ("l1", "weight_decay"):
            if self.lr * getattr(self, name) > 1e30:
                raise ValueError(
                    f"{name} {getattr(self, name):g} times lr {self.lr:g} is what weights shrink "
                    "by, and beyond 1e30: lower one"
                )
        return self

    @model_validator(mode="after")
    def _options_are_used(self) -> "Training":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is sgd's; for {self.optimizer} set betas")
        if self.lr_decay_steps is not None:
            if self.lr_decay is None:
                raise ValueError("lr_decay_steps needs lr_decay: linear or cosine")
            if self.lr_decay_steps <= self.warmup_steps:
                raise ValueError(
                    f"lr_decay_steps {self.lr_decay_steps} must lie beyond "
                    f"warmup_steps {self.warmup_steps}"
                )
        return self

    def require_batch_size(self, reason: str) -> int:
        """The batch size, where the data cannot do without one.

        Args:
            reason: Why they cannot, for the message.

        Raises:
            ValueError: It is left out.
        """
        if self.batch_size is None:
            raise ValueError(f"{reason}: give training.batch_size")
        return self.batch_size

    def resets_optimizer_at(self, step: int) -> bool:
        """Whether the optimiser forgets its moments before the update that follows `step`."""
        return step in self._resets

    def updates_remembered(self, step: int) -> int:
        """How many updates the optimiser's moments hold, once `step` updates are done."""
        return step - max((start for start in self._resets if start < step), default=0)

    @property
    def _resets(self) -> list[int]:
        """Steps before whose update the optimiser forgets its moments."""
        ends = itertools.accumulate(phase.steps for phase in self.schedule)
        return [
            end - phase.steps
            for end, phase in zip(ends, self.schedule, strict=True)
            if phase.reset_optimizer
        ]

    def learning_rate(self, step: int) -> float:
        """The learning rate of the update that leads from `step` to the next."""
        if step < self.warmup_steps:
            return self.lr * step / self.warmup_steps
        if self.lr_decay is None:
            return self.lr
        length = (self.lr_decay_steps or self.steps) - self.warmup_steps
        left = max(0.0, 1 - (step - self.warmup_steps) / length) if length > 0 else 0.0
        if self.lr_decay == "linear":
            return self.lr * left
        return self.lr * (1 - math.cos(math.pi * left)) / 2

    def end_after(self, rows: Sequence[Mapping[str, float]]) -> int:
        """The step at which training ends, as far as the metrics so far tell."""
        stop = self.stop
        if stop is not None:
            held = [stop.is_held(row) for row in rows]
            for first in range(len(held) - stop.evaluations + 1):
                last = first + stop.evaluations - 1
                if all(held[first : last + 1]):
                    end = max(rows[first]["step"] + stop.extra_steps, rows[last]["step"])
                    return min(int(end), self.steps)
        return self.steps
