"""Train many models in one step, each into a run folder of its own.

Members share everything but their seeds and some numbers (`interp.optimizers.PER_MEMBER`). Each
sees the batches it would see alone and leaves the files it would leave alone, so that it can be
carried on, analysed and reported as any run. Members that met their stop rule, or whose metrics
are no longer numbers, leave the stack at an evaluation; the others go on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from interp.batches import Tables
from interp.device import Device, as_configured, pick_device
from interp.experiment import Experiment
from interp.optimizers import PER_MEMBER
from interp.run import Run
from interp.stacked import Parts, Stepper, assembled, states_of
from interp.stacked_scores import Splits, stack_scores
from interp.state import (
    Row,
    State,
    append_metrics,
    asked,
    check_frozen,
    fresh,
    is_sound,
    keep,
    mark_failure,
    resumed,
    take_up,
)
from interp.train import diverged, end_of, training_of
from interp.training import Seeds, Training
from interp.writing import writing

LEAVING = 0.1  # of a stack: so many that are done leave it together


@dataclass(frozen=True, eq=False)
class Drawn:
    """Data that were drawn already: training sets, and examples of evaluated splits."""

    tables: Tables = field(default_factory=dict)
    splits: Splits = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a stack has come: members that are done, of how many, and the step of the others."""

    done: int
    members: int
    step: int
    end: int


@dataclass(eq=False)
class Member:
    """One model of a stack.

    Attributes:
        run: Where it is kept.
        rows: Its metrics so far.
        end: The step at which it will end, as far as they tell.
        is_done: Whether it has ended or failed; it may stay in the stack for a while.
    """

    run: Run
    rows: list[Row]
    end: int
    is_done: bool = False

    def record(self, row: Row) -> None:
        """Adds metrics, or marks the run as failed where they are not numbers.

        A stack that is made anew, since members have left it, looks at the same step again: what
        is recorded is not recorded twice.
        """
        if self.rows and self.rows[-1]["step"] == row["step"]:
            return
        if not is_sound(row):
            self.is_done = True
            mark_failure(self.run, int(row["step"]), diverged(int(row["step"])))
            return
        self.rows.append(asked(row))
        append_metrics(self.run, self.rows[-1])
        self.end = end_of(training_of(self.run.experiment), self.rows)


def train_stack(
    members: Mapping[Path, Experiment],
    *,
    device: Device = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Run]:
    """Trains experiments together, or carries on where an earlier call was stopped.

    Args:
        members: Experiments by run folder.
        device: auto takes CUDA where there is one.
        on_progress: Called at every evaluation.

    Returns:
        The runs, in order: each finished, or marked as failed (`Run.failure`).

    Raises:
        ValueError: There are none, one has no training, they cannot share a stack, or a folder
            belongs to another experiment.
    """
    check_alike(list(members.values()))
    training, place = training_of(next(iter(members.values()))), pick_device(device)
    with ExitStack() as held, as_configured(training):
        runs = {
            held.enter_context(writing(experiment, Path(path), place)): experiment
            for path, experiment in members.items()
        }
        states = {run: resumed(run, training_of(e)) or fresh(e) for run, e in runs.items()}
        check_frozen(next(iter(states.values())).parameters, training)
        # A kill may have left some members a checkpoint further than others.
        for step in sorted({state.step for state in states.values()}):
            cohort = {run: state for run, state in states.items() if state.step == step}
            _train_cohort(cohort, place, on_progress)
    return list(runs)


def check_alike(experiments: Sequence[Experiment]) -> None:
    """Refuses experiments that cannot share a stack.

    Raises:
        ValueError: There are none, or they differ in more than seeds and `PER_MEMBER`; the message
            names the field.
    """
    if not experiments:
        raise ValueError("a stack needs at least one experiment")
    first, *others = [stack_key(each).fields for each in experiments]
    for other in others:
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name):
                raise ValueError(
                    f"{name}: members of a stack share it, but it is {first.get(name)} and "
                    f"{other.get(name)}; train them in separate stacks"
                )


def stack_key(experiment: Experiment) -> Experiment:
    """What members of one stack have in common: an experiment without what may differ."""
    training = training_of(experiment)
    defaults = {name: Training.model_fields[name].default for name in PER_MEMBER}
    return experiment.model_copy(
        update={
            "name": "stack",
            "seeds": Seeds(),
            "training": training.model_copy(update=defaults),
            "analyses": {},
        }
    )


def _train_cohort(
    states: Mapping[Run, State], device: torch.device, on_progress: Callable[[Progress], None]
) -> None:
    """Trains members that stand at the same step, to the end of the last of them."""
    members = []
    for run, state in states.items():
        take_up(run, state.rows)
        end = end_of(training_of(run.experiment), state.rows)
        members.append(Member(run, list(state.rows), end))
    now, count, drawn = list(states.values()), len(members), Drawn()
    with _writer(device) as write:
        while members:
            parts = assembled([each.run.experiment for each in members], now, device)
            for step in _until_some_leave(parts, members, drawn, write):
                done = sum(each.is_done for each in members) + count - len(members)
                end = max(each.end for each in members)
                on_progress(Progress(done, count, step, end))
                parts = replace(parts, step=step)
            later = zip(members, states_of(parts, [each.rows for each in members]), strict=True)
            staying = [(each, state) for each, state in later if not each.is_done]
            members, now = [each for each, _ in staying], [state for _, state in staying]


def _until_some_leave(
    parts: Parts,
    members: Sequence[Member],
    drawn: Drawn,
    write: Callable[[Callable[[], None]], None],
) -> Iterator[int]:
    """Trains until enough members are done, and names every step at which it looked.

    A stack is made anew when members leave, which costs as much as many steps: a few that are done
    stay, unrecorded, until they are a share of it.
    """
    training = training_of(parts.experiments[0])
    evaluated, kept = (
        steps.up_to(training.steps) for steps in (training.evaluate, training.checkpoints)
    )
    stepper, scores = Stepper(parts, drawn.tables), stack_scores(parts, drawn.splits)
    while True:
        step = stepper.step
        active = [each for each in members if not each.is_done]
        if step in evaluated or any(each.end == step for each in active):
            for member, row in zip(members, scores(), strict=True):
                if not member.is_done and (step in evaluated or step == member.end):
                    member.record({"step": step} | row)
        due = [not each.is_done and (step in kept or step == each.end) for each in members]
        if any(due):
            write(_keeping(replace(parts, step=step), members, due))
        for member in members:
            member.is_done |= member.end == step
        yield step
        if sum(each.is_done for each in members) >= LEAVING * len(members):
            return
        ahead = {each for each in evaluated | kept if each > step}
        stepper.advance(min(ahead | {each.end for each in members if not each.is_done}))


def _keeping(parts: Parts, members: Sequence[Member], due: Sequence[bool]) -> Callable[[], None]:
    """A function that writes what is to be kept of some members as they are now."""
    now = parts.copied() if parts.trained.is_cuda else parts
    rows = [list(each.rows) for each in members]

    def write() -> None:
        for member, state, is_due in zip(members, states_of(now, rows), due, strict=True):
            if is_due:
                keep(member.run, state)

    return write


@contextmanager
def _writer(device: torch.device) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Calls functions at once; on a GPU in a thread, while training goes on."""
    if device.type != "cuda":
        yield lambda write: write()
        return
    with ThreadPoolExecutor(1) as pool:
        pending: list[Future[None]] = []

        def submit(write: Callable[[], None]) -> None:
            while pending:
                pending.pop().result()  # one at a time, so that copies do not pile up
            torch.cuda.current_stream().synchronize()
            pending.append(pool.submit(write))

        yield submit
        while pending:
            pending.pop().result()
