"""Train many models in one step, each into a run folder of its own.

Members share everything but their seeds and some numbers
(`interp.training.optimizers.PER_MEMBER`). Each sees the batches it would see alone and leaves the
files it would leave alone, so that it can be carried on, analysed and reported as any run. Members
that met their stop rule, or whose metrics are no longer numbers, leave the stack at an evaluation;
the others go on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from interp.config.experiment import Experiment
from interp.config.training import Seeds, Training
from interp.runs.files import as_table
from interp.runs.run import Run, read_metrics
from interp.runs.writing import writing
from interp.training.batches import Tables
from interp.training.device import Device, as_configured, pick_device
from interp.training.loop import diverged, end_of, is_done_with, training_of
from interp.training.memory import check_memory
from interp.training.optimizers import PER_MEMBER
from interp.training.stack_scores import Splits, stack_scores
from interp.training.stack_step import Parts, Stepper, assembled, states_of
from interp.training.state import (
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

MIN_FINISHED_SHARE = 0.1  # a stack is made anew once this share of it has finished


@dataclass(frozen=True, eq=False)
class Drawn:
    """Data that were drawn already: training sets, and examples of evaluated splits."""

    tables: Tables = field(default_factory=dict)
    splits: Splits = field(default_factory=Splits)


@dataclass(frozen=True)
class Progress:
    """How far a stack has come.

    Attributes:
        done: Members that are done.
        members: All of them.
        step: The step of the others.
        end: The step at which the last of them will end.
        latest: The newest metrics of the first of them.
    """

    done: int
    members: int
    step: int
    end: int
    latest: Row


@dataclass(eq=False)
class Member:
    """One model of a stack.

    Attributes:
        run: Where it is kept.
        state: Where it stands, or stood when it was done. While the stack is at an earlier step
            it is carried along unrecorded, and goes on from here once the stack has come so far.
        rows: Its metrics so far.
        end: The step at which it will end, as far as they tell.
        done_at: The step at which it ended or failed; it may stay in the stack for a while.
    """

    run: Run
    state: State
    rows: list[Row]
    end: int
    done_at: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has ended or failed."""
        return self.done_at is not None

    def is_awake(self, step: int) -> bool:
        """Whether a step of the stack is one of its own training."""
        return not self.is_done and self.state.step <= step

    def record(self, row: Row) -> None:
        """Adds metrics, or marks the run as failed where they are not numbers.

        A stack that is made anew, since members have left it, looks at the same step again: what
        is recorded is not recorded twice.
        """
        if self.rows and self.rows[-1]["step"] == row["step"]:
            return
        if not is_sound(row):
            self.done_at = int(row["step"])
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

    Members that are finished, or marked as failed, are passed over; but they are part of the
    stack as long as they were when nothing was stopped, so that on a CPU the others end with the
    same bytes.

    Returns:
        The runs, in order: each finished, or marked as failed (`Run.failure`).

    Raises:
        ValueError: There are none, one has no training, they cannot share a stack; or the folders
            of some cannot be trained on (all others are).
    """
    check_alike(list(members.values()))
    check_memory(next(iter(members.values())), len(members))
    training, place = training_of(next(iter(members.values()))), pick_device(device)
    found: list[Member] = []
    faults: list[ValueError | OSError] = []
    with ExitStack() as held, as_configured(training, place):
        for path, experiment in members.items():
            try:
                found.append(_member(Path(path), experiment, place, held))
            except (ValueError, OSError) as error:
                faults.append(error)
        if found:
            check_frozen(found[0].state.parameters, training)
        if not all(each.is_done for each in found):
            _train_members(found, place, on_progress)
    if faults:
        raise ValueError(f"{len(faults)} of {len(members)} were not trained: {faults[0]}")
    return [Run(Path(path)) for path in members]


def _member(path: Path, experiment: Experiment, device: torch.device, held: ExitStack) -> Member:
    """A member as an earlier call left it; its folder is held unless it is done."""
    training, run = training_of(experiment), Run(path)
    is_done = is_done_with(path, experiment)
    if not is_done:
        run = held.enter_context(writing(experiment, path, device))
    state = resumed(run, training) or fresh(experiment)
    if not is_done:
        take_up(run, state.rows)
    rows = read_metrics(path / "metrics.jsonl") if is_done else state.rows
    done_at = (_failed_at(run, state.step) if run.failure else state.step) if is_done else None
    return Member(run, state, list(rows), end_of(training, rows), done_at)


def _failed_at(run: Run, otherwise: int) -> int:
    """The step at which a run was marked as failed."""
    step = (as_table((run.path / "failure.json").read_bytes()) or {}).get("step")
    return step if isinstance(step, int) else otherwise


def train_alone(
    experiment: Experiment,
    path: str | Path,
    *,
    device: Device,
    on_evaluate: Callable[[Row, int], None] = lambda row, end: None,
) -> Run:
    """Trains an experiment as a stack of one: how a GPU, which records steps, trains a single run.

    Takes, returns and raises what `interp.training.loop.train` does.
    """

    def tell(now: Progress) -> None:
        if now.latest.get("step") == now.step:
            on_evaluate(now.latest, now.end)

    try:
        [run] = train_stack({Path(path): experiment}, device=device, on_progress=tell)
    except torch.OutOfMemoryError:
        raise ValueError(
            "the model does not fit into the GPU's memory: lower training.batch_size, or train "
            "with --device cpu"
        ) from None
    if run.failure:
        raise ValueError(run.failure)
    return run


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


def _train_members(
    everyone: Sequence[Member], device: torch.device, on_progress: Callable[[Progress], None]
) -> None:
    """Trains members to the end of the last of them, from the step of the one furthest behind.

    A kill may have left some a checkpoint further than others.
    """

    def look(step: int) -> None:
        ends = [each.end for each in everyone if not each.is_done]
        done, rows = len(everyone) - len(ends), everyone[0].rows
        latest = rows[-1] if rows else {}
        on_progress(Progress(done, len(everyone), step, max(ends, default=step), latest))

    drawn, looked = Drawn(), False
    step = min(each.state.step for each in everyone if not each.is_done)
    members = _still_in(everyone, step)
    now = {each: each.state for each in members}
    with _writer(device) as write:
        while not all(each.is_done for each in everyone):
            states = [replace(now[each], step=step) for each in members]
            parts = assembled([each.run.experiment for each in members], states, device)
            step, looked = _until_some_change(parts, members, drawn, (write, look), looked)
            rows = [each.rows for each in members]
            later = states_of(replace(parts, step=step), rows)
            now = dict(zip(members, later, strict=True))
            now |= {each: each.state for each in members if each.state.step == step}
            members = _still_in(members, step + 1 if looked else step)


def _still_in(members: Sequence[Member], step: int) -> list[Member]:
    """Of the members of a stack, those that it has after its looks at all steps before one."""
    left = list(members)
    for at in sorted({each.done_at for each in members if each.done_at is not None}):
        done = {each for each in left if each.done_at is not None and each.done_at <= at}
        if at < step and len(done) >= MIN_FINISHED_SHARE * len(left):
            left = [each for each in left if each not in done]
    return left


def _until_some_change(
    parts: Parts,
    members: Sequence[Member],
    drawn: Drawn,
    then: tuple[Callable[[Callable[[], None]], None], Callable[[int], None]],
    looked: bool,
) -> tuple[int, bool]:
    """Trains until enough members are done, or the stack comes to where some stand already.

    A stack is made anew when members leave, which costs as much as many steps: a few that are done
    stay, unrecorded, until they are a share of it.

    Args:
        parts: The stack.
        members: Whose models it is made of.
        drawn: Data drawn already; added to.
        then: Takes what is to be written, and the step after every look.
        looked: Whether metrics and checkpoints of the stack's step are done with.

    Returns:
        The step, and whether metrics and checkpoints of that step are done with.
    """
    write, look = then
    training = training_of(parts.experiments[0])
    evaluated, kept = (
        steps.up_to(training.steps) for steps in (training.evaluate, training.checkpoints)
    )
    stepper, scores = Stepper(parts, drawn.tables), stack_scores(parts, drawn.splits)
    while True:
        step = stepper.step
        if not looked:
            is_evaluated = step in evaluated
            if is_evaluated or any(each.is_awake(step) and each.end == step for each in members):
                _record(members, step, scores(), is_evaluated)
            due = [each.is_awake(step) and (step in kept or step == each.end) for each in members]
            if any(due):
                write(_keeping(replace(parts, step=step), members, due))
            for member in members:
                if member.is_awake(step) and member.end == step:
                    member.done_at = step
            look(step)
            if _still_in(members, step + 1) != list(members):
                return step, True
        asleep = {each.state.step for each in members if not (each.is_done or each.is_awake(step))}
        ends = {each.end if each.done_at is None else each.done_at for each in members}
        stepper.advance(min(each for each in evaluated | kept | asleep | ends if each > step))
        looked = False
        if stepper.step in asleep:
            return stepper.step, False


def _record(members: Sequence[Member], step: int, rows: Sequence[Row], is_evaluated: bool) -> None:
    """Adds the metrics of a step to those members that train, or end, there."""
    for member, row in zip(members, rows, strict=True):
        if member.is_awake(step) and (is_evaluated or step == member.end):
            member.record({"step": step} | row)


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
