"""How a model is trained: the tables `[training]` and `[seeds]` of an experiment."""

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    SerializeAsAny,
    model_validator,
)

from interp.tasks import TASKS, Task


def _task(value: Any, info: Any) -> Any:  # info is pydantic's, which no check can take
    if not isinstance(value, dict):
        return value
    name = value.get("name")
    if name is None:
        raise ValueError(f"name is missing; there are {', '.join(TASKS)}")
    if name not in TASKS:
        raise ValueError(f"no task '{name}'; there are {', '.join(TASKS)}")
    return TASKS[name].model_validate(value, context=info.context)


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
    """A stretch of training on other data than the evaluated task's: one task, or a mixture.

    Attributes:
        steps: Optimiser updates.
        tasks: What is trained on. In an experiment's file a table without a name is the evaluated
            task with these fields changed.
        weights: Share of each task in the mixture, in the mean; all alike where left out.
        reset_optimizer: Whether the optimiser begins anew, its moments forgotten.
    """

    steps: int = Field(ge=1)
    tasks: tuple[AnyTask, ...] = Field(min_length=1)
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    reset_optimizer: bool = False

    @model_validator(mode="after")
    def _can_be_mixed(self) -> "Phase":
        if self.weights is not None and len(self.weights) != len(self.tasks):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.tasks)} tasks; one each")
        padded = [task.name for task in self.tasks if task.widths]
        if padded and len(self.tasks) > 1:
            raise ValueError(
                f"tasks: examples of {padded[0]} differ in length and cannot be mixed; "
                "give each task a stretch of its own"
            )
        return self


class Seeds(Frozen):
    """Separate seeds: of the initial weights, of the data and their split, of the batch order."""

    model: int = Field(default=0, ge=0)
    data: int = Field(default=0, ge=0)
    order: int = Field(default=0, ge=0)


class Training(Frozen):
    """How a model is trained.

    Attributes:
        steps: Optimiser updates, at most.
        optimizer: adamw decouples both penalties from the gradient (Loshchilov and Hutter 2019,
            arXiv:1711.05101): each shrinks weights by lr times its gradient before the update.
            adam and sgd add them to the gradient.
        betas: Of adamw and adam.
        eps: Of adamw and adam.
        momentum: Of sgd.
        weight_decay: L2 penalty: the coefficient of w.
        l1: L1 penalty: the coefficient of sign(w).
        grad_clip: The largest norm of the loss' gradient, over all trained parameters, before
            penalties are added; no clipping where left out.
        init_scale: What initial weight matrices are multiplied by (vectors are not).
        warmup_steps: Update t (from 0) runs at lr min(t / warmup_steps, 1), so the first is idle.
        lr_decay: How lr falls after the warm-up, to 0 at `lr_decay_steps`.
        lr_decay_steps: `steps` where left out.
        batch_size: Examples an update; the whole training set where left out.
        chunk: Batches drawn at a time where a task's data are endless.
        frozen: Parameters that stay as initialised, by name pattern (`*.b_*`).
        dtype: Of parameters and activations.
        matmul: Precision of float32 products on a GPU: highest is float32, high takes TF32,
            medium bfloat16 (torch.set_float32_matmul_precision).
        loss_dtype: In which the loss is computed; float32 quantises it below 1e-7.
        loss_scale: What the loss is multiplied by; recorded metrics are not.
        evaluate: When metrics are recorded.
        checkpoints: When the model is kept.
        stop: When training may end early.
        schedule: Training data by stretch of steps; the evaluated task's where left out.
    """

    steps: int = Field(ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    momentum: Beta = 0.0
    weight_decay: float = Field(default=0.0, ge=0)
    l1: float = Field(default=0.0, ge=0)
    grad_clip: float | None = Field(default=None, gt=0)
    init_scale: float = Field(default=1.0, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    lr_decay: Literal["linear", "cosine"] | None = None
    lr_decay_steps: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    chunk: int = Field(default=64, ge=1)
    frozen: tuple[str, ...] = ()
    dtype: Literal["float32", "float64"] = "float32"
    matmul: Literal["highest", "high", "medium"] = "highest"
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

    def begins_anew(self, step: int) -> bool:
        """Whether the optimiser forgets its moments before the update that follows `step`."""
        return any(start == step for start in self._resets)

    def updates_remembered(self, step: int) -> int:
        """Updates that the optimiser's moments are made of, once `step` updates are done."""
        return step - max((start for start in self._resets if start < step), default=0)

    @property
    def _resets(self) -> list[int]:
        """Steps at which the optimiser begins anew."""
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
