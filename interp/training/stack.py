"""Train many models in one step, each into a run folder of its own.

The models (replicas) share everything but their seeds and some numbers
(`interp.training.optimizers.PER_REPLICA_OPTIONS`). Each sees the batches it would see alone and
leaves the files it would leave alone, so that it can be carried on, analysed and reported as any
run. Replicas that met their stop rule, or whose metrics are no longer numbers, leave the stack at
an evaluation; the others go on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from interp.config import Experiment, Seeds, Training
from interp.runs import (
    InUse,
    LeaseLost,
    Run,
    as_table,
    is_done_with,
    read_metrics,
    sight,
    wait_for,
    writing,
)
from interp.training.device import Device, as_configured, pick_device
from interp.training.loop import Replica, train_replicas
from interp.training.memory import check_memory
from interp.training.optimizers import PER_REPLICA_OPTIONS
from interp.training.stack_step import DataCache, StackStepper, assembled, states_of
from interp.training.state import Row, State, check_frozen, prepare_folder, resumed
from interp.training.trackers import make_trackers, tracked

MIN_FINISHED_SHARE = 0.1  # a stack is rebuilt once this share of its replicas has finished


def train_stack(
    experiments: Mapping[Path, Experiment],
    *,
    device: Device | torch.device = "auto",
    on_stop: Callable[[int, int], None] = lambda step, done: None,
    track: Sequence[str] = (),
) -> list[Run]:
    """Trains experiments together, or carries on where an earlier call was stopped.

    Args:
        experiments: Experiments by run folder.
        device: auto takes CUDA where there is one.
        on_stop: Called at every evaluation and checkpoint with the step of the stack, and how many
            replicas are done.
        track: Names of trackers that are told of each replica's training.

    Experiments that are finished, or marked as failed, are passed over; but they are part of the
    stack as long as they were when nothing was stopped, so that on a CPU the others end with the
    same bytes.

    Returns:
        The runs, in order: each finished, or marked as failed (`Run.failure`).

    Raises:
        InUse: Another process writes to one of the folders; nothing is trained, since the others
            would end with other bytes without it.
        LeaseLost: This process was paused, and one of the folders taken over.
        ValueError: There are none, one has no training, they cannot share a stack; or the folders
            of some cannot be trained on (all others are).
    """
    experiments = {Path(path): experiment for path, experiment in experiments.items()}
    check_stackable(list(experiments.values()))
    first = next(iter(experiments.values()))
    check_memory(first, len(experiments))
    training, device = first.require_training(), pick_device(device)
    replicas: list[Replica] = []
    faults: list[ValueError | OSError] = []
    with ExitStack() as locks, as_configured(training, device):
        elsewhere = sight(experiments)  # at once, as each may have to be waited for
        wait_for([path for path in elsewhere if not is_done_with(path, experiments[path])])
        for path, experiment in experiments.items():
            try:
                replicas.append(_replica(path, experiment, device, locks, track))
            except (InUse, LeaseLost):
                raise
            except (ValueError, OSError) as error:
                faults.append(error)
        if replicas:
            check_frozen(replicas[0].state.parameters, training)
        if not all(replica.is_done for replica in replicas):
            train_replicas(
                replicas,
                ShrinkingStack(replicas, device),
                device,
                lambda step: on_stop(step, sum(replica.is_done for replica in replicas)),
            )
    if faults:
        raise ValueError(f"{len(faults)} of {len(experiments)} were not trained: {faults[0]}")
    return [Run(path) for path in experiments]


def _replica(
    path: Path,
    experiment: Experiment,
    device: torch.device,
    stack: ExitStack,
    track: Sequence[str],
) -> Replica:
    """A replica as an earlier call left it; its folder is locked unless it is done."""
    if is_done_with(path, experiment):
        run = Run(path)
        (state, _), rows = resumed(run, experiment), read_metrics(path / "metrics.jsonl")
        failure = as_table((path / "failure.json").read_bytes()) if run.failure else {}
        failed_at = (failure or {}).get("step")
        end = failed_at if isinstance(failed_at, int) else state.step
        return Replica(run, experiment, state, rows, end, is_done=True)
    run = stack.enter_context(writing(experiment, path, device))
    state, rows = resumed(run, experiment)
    log = stack.enter_context(tracked(run, rows, make_trackers(track)))
    prepare_folder(run, rows)
    end = experiment.require_training().end_after(rows)
    return Replica(run, experiment, state, rows, end, track=log)


class ShrinkingStack:
    """Updates and scores replicas together, without those that have left (a `Stepper`).

    A stack is rebuilt when replicas leave, which costs as much as many steps: the first that are
    done stay, unrecorded, until they are a tenth of it. It begins at the step of the replica that
    is furthest behind, since a kill may have left some a checkpoint further than others; those take
    their own state once the stack has come to where they stand.

    Args:
        replicas: All that train, or have trained, together; at least one is not done.
        device: Where they are trained.
    """

    def __init__(self, replicas: Sequence[Replica], device: torch.device) -> None:
        self._replicas, self._device, self._cache = replicas, device, DataCache()
        self.step = min(replica.state.step for replica in replicas if not replica.is_done)
        self._stack(present_at(replicas, self.step), [replica.state for replica in replicas])

    def advance(self, to: int) -> None:
        """Makes updates up to a step, before which no other replica joins or has ended."""
        numbers = present_at(self._replicas, self.step + 1)
        if numbers != self._numbers:
            self._rebuild(numbers)
        self._stepper.advance(to)
        self.step = to
        present = [self._replicas[number] for number in numbers]
        if any(replica.state.step == to and not replica.is_done for replica in present):
            self._rebuild(numbers)

    def scores(self) -> dict[int, Row]:
        """The metrics of the replicas that are in the stack, as they are now."""
        return {self._numbers[index]: row for index, row in self._stepper.scores().items()}

    def states(self) -> Callable[[], dict[int, State]]:
        """A function that gives the states of the replicas in the stack, as they are now."""
        numbers, states = self._numbers, self._stepper.states()
        return lambda: {numbers[index]: state for index, state in states().items()}

    def _rebuild(self, numbers: list[int]) -> None:
        """Keeps some replicas of the stack, with their own states where they stand at this step."""
        stack = replace(self._stepper.stack, step=self.step)
        states = [replica.state for replica in self._replicas]
        for number, state in zip(self._numbers, states_of(stack), strict=True):
            if states[number].step != self.step:
                states[number] = state
        del self._stepper, stack  # their memory is needed for the next
        self._stack(numbers, states)

    def _stack(self, numbers: list[int], states: Sequence[State]) -> None:
        """Stacks some replicas at this step.

        Args:
            numbers: Which of all replicas.
            states: Of all replicas, by number. Those that stand at later steps are carried along
                as if they stood here.
        """
        self._numbers = numbers
        experiments = [self._replicas[number].experiment for number in numbers]
        states_now = [replace(states[number], step=self.step) for number in numbers]
        self._stepper = StackStepper(assembled(experiments, states_now, self._device), self._cache)


def present_at(replicas: Sequence[Replica], step: int) -> list[int]:
    """The replicas that a stack holds after its evaluations at all steps before one, by number."""
    ends = [replica.end if replica.is_done else math.inf for replica in replicas]
    present = list(range(len(replicas)))
    for end in sorted({end for end in ends if end < step}):
        training = [number for number in present if ends[number] > end]
        if len(present) - len(training) >= MIN_FINISHED_SHARE * len(present):
            present = training
    return present


def check_stackable(experiments: Sequence[Experiment]) -> None:
    """Refuses experiments that cannot share a stack.

    Raises:
        ValueError: There are none, or they differ in more than seeds and `PER_REPLICA_OPTIONS`;
            the message names the field.
    """
    if not experiments:
        raise ValueError("a stack needs at least one experiment")
    first, *others = [stack_key(experiment).fields for experiment in experiments]
    for other in others:
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise ValueError(
                    f"{name}: models of a stack share it, but it is {first.get(name)} and "
                    f"{other.get(name)}; train them in separate stacks"
                )


def stack_key(experiment: Experiment) -> Experiment:
    """What experiments of one stack have in common: the experiment without what may differ."""
    defaults = {name: Training.model_fields[name].default for name in PER_REPLICA_OPTIONS}
    return experiment.model_copy(
        update={
            "name": "stack",
            "seeds": Seeds(),
            "training": experiment.require_training().model_copy(update=defaults),
            "analyses": {},
        }
    )
