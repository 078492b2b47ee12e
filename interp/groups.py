"""Which experiments train together, and where.

On a GPU all that can share a stack do. On a CPU stacking pays only where a model is so small that
the work of starting an operation is most of it: networks with one hidden layer are stacked, few
enough to leave work for every core; transformers are trained one at a time, a process a core.

Which models share a stack decides their last digits. So stacks are cut from a whole sweep: neither
what is finished already nor how many workers there are has a say.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hooks import build
from interp.device import Device, pick_device
from interp.experiment import Experiment
from interp.stack import stack_key
from interp.stack_memory import members_that_fit
from interp.stacked import Stepper, assembled
from interp.state import fresh
from interp.train import batch_updates, trainee_of, training_of

ON_GPU = 512  # members of a stack, at most
ON_CPU = 32  # where a model is one hidden layer: most of what more would gain
TIMED = 5  # steps, after one that is not timed


@dataclass(frozen=True)
class Group:
    """Experiments, by run folder, that one worker trains: as a stack, or a single one alone.

    Members that are finished are in it, and passed over.
    """

    members: Mapping[Path, Experiment]

    @property
    def first(self) -> Experiment:
        """One of them."""
        return next(iter(self.members.values()))

    def __len__(self) -> int:
        return len(self.members)


def grouped(
    members: Mapping[Path, Experiment],
    device: Device = "auto",
    stack: int | None = None,
) -> list[Group]:
    """Experiments in groups that share a stack, the largest groups first.

    Args:
        members: All experiments of a sweep by run folder.
        device: Where they will be trained.
        stack: Members a stack, at most; chosen by device and kind of model where left out.

    Raises:
        ValueError: An experiment has no training, or `stack` is less than 1.
    """
    if stack is not None and stack < 1:
        raise ValueError(f"stack must be at least 1, got {stack}")
    alike: dict[str, dict[Path, Experiment]] = {}
    for path, experiment in members.items():
        alike.setdefault(stack_key(experiment).to_toml(), {})[path] = experiment
    groups = []
    for some in alike.values():
        paths = list(some)
        size = stack or stack_size(some[paths[0]], device)
        groups += [
            Group({path: some[path] for path in paths[first : first + size]})
            for first in range(0, len(paths), size)
        ]
    return sorted(groups, key=len, reverse=True)


def stack_size(experiment: Experiment, device: Device) -> int:
    """How many models of a kind are best trained together on a device, and fit into it."""
    place = pick_device(device)
    if place.type == "cuda":
        memory = torch.cuda.get_device_properties(place).total_memory
        return min(ON_GPU, members_that_fit(experiment, memory))
    return ON_CPU if experiment.model.kind == "mlp" else 1


def described(groups: Sequence[Group], device: Device, workers: int = 1) -> list[str]:
    """One line a size of group: how many models, how large, how long by a short timing; and all.

    Args:
        groups: What is to be trained.
        device: Where.
        workers: How many train at once.
    """
    lines, total = [], 0.0
    alike: dict[tuple[str, int], list[Group]] = {}
    for each in groups:
        alike.setdefault((stack_key(each.first).to_toml(), len(each)), []).append(each)
    for same in alike.values():
        group, training = same[0], training_of(same[0].first)
        model = build(group.first.model, group.first.task.sizes, seed=0)
        size = sum(parameter.numel() for _, parameter in model.named_parameters())
        seconds = seconds_a_step(group, device) * training.steps * len(same)
        total += seconds
        together = "alone" if len(group) == 1 else f"in a stack of {len(group)}"
        lines.append(
            f"{len(same) * len(group)} models of {size:,} parameters, each {together}, "
            f"{training.steps:,} steps: at most {_duration(seconds)} of one worker"
        )
    used = min(workers, len(groups))
    if len(lines) > 1 or used > 1:
        lines.append(f"in all at most {_duration(total)} of one worker: {_duration(total / used)} "
                     f"with {used} at work")  # fmt: skip
    return lines


def seconds_a_step(group: Group, device: Device) -> float:
    """Seconds of one update of a whole group, by a short timing; evaluation is not in it."""
    place = pick_device(device)
    experiments = list(group.members.values())
    if len(group) == 1 and place.type == "cpu":
        trainee = trainee_of(experiments[0], fresh(experiments[0]), place)
        update = batch_updates(experiments[0], trainee, place)

        def run(steps: int) -> None:
            for _ in range(steps):
                update()
                trainee.step += 1
    else:
        stepper = Stepper(assembled(experiments, [fresh(each) for each in experiments], place))

        def run(steps: int) -> None:
            stepper.advance(stepper.step + steps)

    steps = training_of(experiments[0]).steps
    first = min(1, steps - 1)  # slower than others, and not timed unless it is all
    timed = min(TIMED, steps - first)
    run(first)
    _wait(place)
    start = time.perf_counter()
    run(timed)
    _wait(place)
    return (time.perf_counter() - start) / timed


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
