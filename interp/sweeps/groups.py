"""Which experiments train together, and where.

On a GPU all that can share a stack do. On a CPU stacking pays only where a model is so small that
the work of starting an operation is most of it: networks with one hidden layer are stacked, few
enough to leave work for every core; transformers are trained one at a time, a process a core.

Which models share a stack decides their last digits. So stacks are cut from a whole sweep: neither
what is finished already nor how many workers there are has a say.
"""

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hooks import build
from interp.config import Experiment
from interp.executors import shared_out
from interp.runs import Run, is_done_with
from interp.training.batches import batch_source
from interp.training.device import Device, pick_device
from interp.training.loop import Stepper, stepper_on
from interp.training.memory import check_memory, parameter_count, replicas_that_fit
from interp.training.stack import stack_key
from interp.training.state import fresh, keep, prepare_folder

MAX_STACK_ON_GPU = 512  # models
STACK_ON_CPU = 32  # models of one hidden layer; larger stacks gain little more
MAX_TIMED_UPDATES = 50  # updates that are timed after a first one that is not
MAX_TIMED_SECONDS = 2.0  # seconds after which fewer updates will do

# Experiments, by run folder, that one worker trains: as a stack, or a single one alone. Runs that
# are finished are among them, and passed over.
Group = Mapping[Path, Experiment]


@dataclass(frozen=True)
class Worker:
    """The kind of worker that stacks are cut for.

    Attributes:
        device: cpu or cuda.
        memory: Bytes of a GPU's memory; not used on a CPU.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    memory: int = 0

    @classmethod
    def here(cls, device: Device | torch.device = "auto") -> "Worker":
        """This machine, where a device of it trains."""
        place = pick_device(device)
        if place.type != "cuda":
            return cls()
        return cls("cuda", torch.cuda.get_device_properties(place).total_memory)


@dataclass(frozen=True)
class Part:
    """One of several parts of a sweep, counted from 1."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(
                f"part {self.number}/{self.of} does not exist: parts run from 1/{self.of} to "
                f"{self.of}/{self.of}"
            )

    @classmethod
    def parse(cls, text: str) -> "Part":
        """The part that a text such as 3/16 names.

        Raises:
            ValueError: It names none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match:
            raise ValueError(f"part {text!r} is none: give its number and how many, such as 3/16")
        return cls(int(match[1]), int(match[2]))


def grouped(
    experiments: Mapping[Path, Experiment], worker: Worker, stack: int | None = None
) -> list[Group]:
    """Experiments in groups that share a stack, the largest groups first.

    Args:
        experiments: All experiments of a sweep by run folder.
        worker: What will train a group.
        stack: Models a stack, at most; chosen by worker and kind of model where left out.

    Raises:
        ValueError: An experiment has no training, or `stack` is less than 1.
    """
    if stack is not None and stack < 1:
        raise ValueError(f"stack must be at least 1, got {stack}")
    kind_of, by_kind = kinds(), dict[str, list[Path]]()
    for path, experiment in experiments.items():
        by_kind.setdefault(kind_of(experiment), []).append(path)
    groups = []
    for paths in by_kind.values():
        size = stack or stack_size(experiments[paths[0]], worker)
        groups += [
            {path: experiments[path] for path in paths[first : first + size]}
            for first in range(0, len(paths), size)
        ]
    return sorted(groups, key=len, reverse=True)


def kinds() -> Callable[[Experiment], str]:
    """A function that gives what experiments of one stack share, as text.

    Runs of a sweep that differ in their seeds alone share objects, for which it is made once.
    """
    made: dict[tuple[int, ...], tuple[Experiment, str]] = {}  # by identity, so kept alive

    def kind_of(experiment: Experiment) -> str:
        parts = (id(experiment.task), id(experiment.model), id(experiment.training))
        if parts not in made:
            made[parts] = experiment, repr(stack_key(experiment).model_dump(mode="json"))
        return made[parts][1]

    return kind_of


def with_work(groups: Sequence[Group]) -> list[Group]:
    """The groups that hold a run which is neither finished nor failed."""
    return [
        group
        for group in groups
        if not all(is_done_with(path, experiment) for path, experiment in group.items())
    ]


def bundled(groups: Sequence[Group], count: int) -> list[Group]:
    """Groups in bundles of alike cost, at most so many.

    In a bundle, experiments stand as in the groups, so that a worker cuts the same stacks again.

    Raises:
        ValueError: `count` is less than 1.
    """
    bundles = shared_out([cost(group) for group in groups], count)
    return [{path: groups[i][path] for i in bundle for path in groups[i]} for bundle in bundles]


def part_of(groups: Sequence[Group], part: Part) -> Group:
    """The experiments of a part: whole stacks, at alike cost; none where there are fewer stacks.

    Every machine that cuts the same groups finds the same parts, whatever is finished already.
    """
    bundles = bundled(groups, part.of)
    return bundles[part.number - 1] if part.number <= len(bundles) else {}


def cost(group: Group) -> float:
    """What training a group costs, in multiplications by weights: about alike for alike kinds."""
    experiment = next(iter(group.values()))
    training, task = experiment.require_training(), experiment.task
    rows = training.batch_size or task.train_count or 1
    weights = parameter_count(experiment.model, task.sizes)
    return float(len(group) * training.steps * rows * task.sizes.n_ctx * weights)


def stack_size(experiment: Experiment, worker: Worker) -> int:
    """How many models of a kind are best trained together by a worker, and fit into it."""
    if worker.device == "cuda":
        return min(MAX_STACK_ON_GPU, replicas_that_fit(experiment, worker.memory))
    return STACK_ON_CPU if experiment.model.kind == "mlp" else 1


def described(
    groups: Sequence[Group], device: Device | torch.device, workers: int = 1
) -> list[str]:
    """One line for each size of group: how many models, how large, about how long; then a total.

    Times are estimates from a short timing of updates, of one evaluation and of one checkpoint.
    Starting workers is not in them, nor what other programs or workers take from this one; a stop
    rule makes them shorter.

    Args:
        groups: What is to be trained.
        device: Where.
        workers: How many train at once.
    """
    lines, total, kind_of = [], 0.0, kinds()
    by_size: dict[tuple[str, int], list[Group]] = {}
    for group in groups:
        kind = kind_of(next(iter(group.values())))
        by_size.setdefault((kind, len(group)), []).append(group)
    for group, *others in by_size.values():
        experiment, count = next(iter(group.values())), 1 + len(others)
        check_memory(experiment, len(group))
        model = build(experiment.model, experiment.task.sizes, seed=0)
        size = sum(parameter.numel() for _, parameter in model.named_parameters())
        seconds = seconds_in_all(group, device) * count
        total += seconds
        together = "alone" if len(group) == 1 else f"in a stack of {len(group)}"
        lines.append(
            f"{count * len(group)} models of {size:,} parameters, each {together}, "
            f"{experiment.require_training().steps:,} steps: about {duration(seconds)} of one "
            "worker"
        )
    used = min(workers, len(groups))
    if len(lines) > 1 or used > 1:
        lines.append(
            f"in all about {duration(total)} of one worker: {duration(total / used)} with "
            f"{used} at work, where each has a core of its own"
        )
    return lines


@dataclass(frozen=True)
class Timing:
    """Seconds of what training a group is made of.

    Attributes:
        start: Drawing the data, the first update and the first evaluation.
        update: One update of the whole group, its data drawn before.
        draw: Drawing data for a chunk of updates.
        evaluation: Evaluating all models.
        checkpoint: Writing all models and states.
    """

    start: float
    update: float
    draw: float
    evaluation: float
    checkpoint: float


def seconds_in_all(group: Group, device: Device | torch.device) -> float:
    """Seconds that training a whole group takes to its last step, by a short timing."""
    experiment, timing = next(iter(group.values())), timed(group, pick_device(device))
    training = experiment.require_training()
    evaluations, checkpoints = (
        len(steps.up_to(training.steps)) for steps in (training.evaluate, training.checkpoints)
    )
    chunks = training.steps / training.chunk if experiment.task.train_count is None else 0.0
    return sum(
        (
            timing.start,
            training.steps * timing.update,
            chunks * timing.draw,
            evaluations * timing.evaluation,
            checkpoints * timing.checkpoint,
        )
    )


def timed(group: Group, device: torch.device) -> Timing:
    """A short timing of a group; its files go into a folder that is removed."""
    begin = time.perf_counter()
    experiments = list(group.values())
    states = [fresh(experiment) for experiment in experiments]
    stepper = stepper_on(device, experiments, states)
    stepper.advance(1)  # slower than later updates
    stepper.scores()
    _wait(device)
    start = time.perf_counter() - begin
    draw = batch_source(experiments[0], device)  # where data are endless, a chunk at a time
    n_data = len({experiment.seeds.data for experiment in experiments})
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        prepare_folder(run, [])
        return Timing(
            start,
            update=_seconds_an_update(stepper, experiments[0].require_training().steps, device),
            draw=_seconds(lambda: draw(0), device) * n_data,
            evaluation=_seconds(stepper.scores, device),
            checkpoint=_seconds(lambda: keep(run, states[0]), device) * len(group),
        )


def _seconds_an_update(stepper: Stepper, last: int, device: torch.device) -> float:
    """Seconds of an update, the mean of some before the last step; 0 where none is left."""
    first, seconds = stepper.step, 0.0
    while stepper.step < min(last, first + MAX_TIMED_UPDATES) and seconds < MAX_TIMED_SECONDS:
        seconds += _seconds(lambda: stepper.advance(stepper.step + 1), device)
    return seconds / max(stepper.step - first, 1)


def _seconds(do: Callable[[], object], device: torch.device) -> float:
    """How long something takes, the device's work included."""
    _wait(device)
    start = time.perf_counter()
    do()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    """Waits until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def duration(seconds: float) -> str:
    """Seconds as text, in a unit that suits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
