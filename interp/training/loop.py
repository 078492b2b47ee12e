"""Train models and keep every stage of them: the one loop, and the update of a model on the CPU.

A straight loop: at each step record metrics if it is time, keep a checkpoint if it is time, and
update. Batches are a function of the step and the stop rule is a function of the metrics, so that
a run that was killed continues from its last checkpoint bit for bit (on the CPU). The loop trains
any number of models (replicas) through a `Stepper`: torch's optimiser for one model on the CPU
(`LoneStepper`), one step for all replicas of a stack (`interp.training.stack_step.StackStepper`).
On a GPU a single model is a stack of one, whose steps are recorded and replayed.
"""

import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from hooks import Examples
from hooks.fast import training_logits
from hooks.models import move, parameters_of, restore
from interp.config import Experiment
from interp.runs import Run, writing
from interp.tasks import model_inputs
from interp.training.batches import batch_source, dropout_seed, has_dropout
from interp.training.device import Device, as_configured, pick_device
from interp.training.memory import check_memory
from interp.training.optimizers import LoneOptimizer, clip_and_penalise
from interp.training.stack_step import StackStepper, assembled, task_scores
from interp.training.state import (
    Row,
    State,
    append_metrics,
    check_frozen,
    drop_nan,
    is_sound,
    is_trained,
    keep,
    mark_diverged,
    prepare_folder,
    resumed,
)
from interp.training.trackers import Track, make_trackers, tracked


@runtime_checkable  # which checks of types in tests need
class Stepper(Protocol):
    """Updates and scores replicas, which the loop knows by their number."""

    step: int

    def advance(self, to: int) -> None:
        """Makes updates up to a step."""

    def scores(self) -> Mapping[int, Row]:
        """The metrics of replicas as they are now; those that have left the stack are missing."""
        ...

    def states(self) -> Callable[[], Mapping[int, State]]:
        """A function that gives the states of replicas as they are now."""
        ...


@dataclass(eq=False)
class Replica:
    """One model in training, and what is recorded of it.

    Attributes:
        run: Where it is kept.
        experiment: What it is trained by.
        state: Where it stood when this call began, or when it was done. While its stack is at an
            earlier step it is carried along unrecorded, and goes on from here once the stack has
            come so far.
        rows: Its metrics so far.
        end: The step at which it ended or failed, or will end by the metrics so far.
        is_done: Whether it has ended or failed; it may stay in the stack for a while.
        track: Called with each new row.
    """

    run: Run
    experiment: Experiment
    state: State
    rows: list[Row]
    end: int
    is_done: bool = False
    track: Callable[[Row], None] = lambda row: None


def train(
    experiment: Experiment,
    path: str | Path,
    *,
    device: Device | torch.device = "auto",
    on_evaluate: Callable[[Row, int], None] = lambda row, end: None,
    track: Track = (),
) -> Run:
    """Trains an experiment into a run folder, or carries on where an earlier call was stopped.

    Args:
        experiment: What to train.
        path: The run folder; made where missing.
        device: auto takes CUDA where there is one.
        on_evaluate: Called with each row of metrics and the step at which training will end.
        track: Trackers that are told of training: wandb, trackio, tensorboard, mlflow, or objects
            of one's own (`interp.training.trackers.Tracker`).

    Returns:
        The run, finished.

    Raises:
        ValueError: The experiment has no training, or needs more memory than there is; the folder
            belongs to another experiment; a tracker is unknown, not installed or cannot begin; or
            the metrics are no longer numbers (the folder is marked so: `Run.failure`).
    """
    training, device = experiment.require_training(), pick_device(device)
    check_memory(experiment)
    trackers = make_trackers(track)
    with writing(experiment, Path(path), device) as run, as_configured(training, device):
        state, rows = resumed(run, experiment)
        if not state.step and experiment.task.overlap:
            warnings.warn(f"{run.path}: {experiment.task.overlap}", stacklevel=2)
        check_frozen(state.parameters, training)
        replica = Replica(run, experiment, state, rows, training.end_after(rows))

        def report_row(step: int) -> None:
            if replica.rows and replica.rows[-1]["step"] == step:
                on_evaluate(replica.rows[-1], replica.end)

        try:
            stepper = stepper_on(device, [experiment], [state])
            with tracked(run, rows, trackers) as replica.track:
                prepare_folder(run, rows)
                train_replicas([replica], stepper, device, report_row)
        except torch.OutOfMemoryError:
            raise ValueError(
                "the model does not fit into the GPU's memory: lower training.batch_size, or train "
                "with --device cpu"
            ) from None
    if run.failure:
        raise ValueError(run.failure)
    return run


def stepper_on(
    device: torch.device, experiments: Sequence[Experiment], states: Sequence[State]
) -> Stepper:
    """What updates models together, or a single one: on the CPU by torch's optimiser."""
    if len(experiments) == 1 and device.type == "cpu":
        return LoneStepper(experiments[0], states[0], device)
    return StackStepper(assembled(experiments, states, device))


def train_replicas(
    replicas: Sequence[Replica],
    stepper: Stepper,
    device: torch.device,
    on_stop: Callable[[int], None],
) -> None:
    """The training loop: evaluates, saves, marks failures and updates until every replica is done.

    Args:
        replicas: Models that share the steps of evaluations and checkpoints.
        stepper: Updates and scores them, by their place among the replicas.
        device: Where they are.
        on_stop: Called with the step whenever the loop has stopped to evaluate or to save.
    """
    training = replicas[0].experiment.require_training()
    evaluated, saved = (
        steps.up_to(training.steps) for steps in (training.evaluate, training.checkpoints)
    )
    shared_stops = sorted(evaluated | saved)
    with _writer(device) as write:
        while True:
            step = stepper.step
            recorded = {  # replicas for which this step is part of their own training
                n: r for n, r in enumerate(replicas) if not r.is_done and r.state.step <= step
            }
            scored = {n: r for n, r in recorded.items() if step in evaluated or step == r.end}
            scores = stepper.scores() if scored else {}
            for number, replica in scored.items():
                _record(replica, step, scores[number])
            runs = {
                number: replica.run
                for number, replica in recorded.items()
                if not replica.is_done and (step in saved or step == replica.end)
            }
            if runs:
                write(partial(_save_all, runs, stepper.states()))
            for replica in recorded.values():
                replica.is_done = replica.end == step
            on_stop(step)
            if all(replica.is_done for replica in replicas):
                return
            joins_and_ends = {
                at for replica in replicas for at in (replica.state.step, replica.end)
            }
            next_stop = shared_stops[bisect_right(shared_stops, step)]
            stepper.advance(min({at for at in joins_and_ends if at > step} | {next_stop}))


def _record(replica: Replica, step: int, scores: Row) -> None:
    """Adds the metrics of a step, or marks the run as failed where they are not numbers."""
    row = {"step": step} | scores
    if not is_sound(row):
        replica.end, replica.is_done = step, True
        mark_diverged(replica.run, step)
        return
    replica.rows.append(drop_nan(row))
    append_metrics(replica.run, replica.rows[-1])
    replica.track(replica.rows[-1])
    replica.end = replica.experiment.require_training().end_after(replica.rows)


def _save_all(runs: Mapping[int, Run], states: Callable[[], Mapping[int, State]]) -> None:
    """Writes the checkpoints and states of some replicas."""
    state_of = states()
    for number, run in runs.items():
        keep(run, state_of[number])


@contextmanager
def _writer(device: torch.device) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Calls functions at once; on a GPU in a thread, while training goes on."""
    if device.type != "cuda":
        yield lambda write: write()
        return
    with ThreadPoolExecutor(1) as pool:
        pending: Future[None] = pool.submit(lambda: None)

        def submit(write: Callable[[], None]) -> None:
            nonlocal pending
            pending.result()  # one at a time, so that copies do not pile up
            torch.cuda.current_stream().synchronize()
            pending = pool.submit(write)

        yield submit
        pending.result()


class LoneStepper:
    """Updates and scores one model by torch's optimiser (a `Stepper`).

    Args:
        experiment: What is trained.
        state: Where training stands.
        device: Where the model is trained.

    Attributes:
        model: The live model.
        optimizer: Its optimiser.
        step: Updates made.

    Raises:
        ValueError: The state is of another model.
    """

    def __init__(self, experiment: Experiment, state: State, device: torch.device) -> None:
        self._experiment, self._training = experiment, experiment.require_training()
        training, task = self._training, experiment.task
        self.step = state.step
        self.model = restore(experiment.model, task.sizes, state.parameters)
        move(self.model, device)
        self.model.train()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(is_trained(name, training))
        self._trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = LoneOptimizer(self._trained, training)
        for path, values in state.moments.items():
            moment, _, name = path.partition("/")
            parameter = self._trained[name]
            updates = float(training.updates_remembered(state.step))
            self.optimizer.moments[moment][name] = values.to(parameter, copy=True)
            self.optimizer.updates[name] = torch.tensor(updates, device=parameter.device)
        self._batch_at = batch_source(experiment, device)
        self._logits = training_logits(self.model, experiment.model, task.positions)
        self._loss_dtype = getattr(torch, training.loss_dtype)
        self._has_dropout = has_dropout(self.model)
        self._examples: dict[tuple[str, int], Examples] = {}  # by split and data seed

    def advance(self, to: int) -> None:
        """Makes updates up to a step."""
        while self.step < to:
            self._update()
            self.step += 1

    def _update(self) -> None:
        """The update that leads from `step` to the next."""
        training, task, step = self._training, self._experiment.task, self.step
        if self._has_dropout:
            torch.manual_seed(dropout_seed(self._experiment.seeds, step))
        if training.resets_optimizer_at(step):
            self.optimizer.reset()
        lr = training.learning_rate(step)
        batch = self._batch_at(step)
        loss = task.loss(self._logits(model_inputs(batch)).to(self._loss_dtype), batch)
        for parameter in self._trained.values():
            parameter.grad = None
        (loss * training.loss_scale).backward()
        clip_and_penalise(list(self._trained.values()), training, lr)
        self.optimizer.update(lr)

    def scores(self) -> dict[int, Row]:
        """The metrics of the model as it is now on every evaluated split."""
        return {0: task_scores(self.model, self._experiment, self._examples)}

    def states(self) -> Callable[[], dict[int, State]]:
        """A function that gives the state of the model; tensors share memory with it."""
        moments = {
            f"{moment}/{name}": values[name]
            for name in self._trained
            for moment, values in self.optimizer.moments.items()
            if name in values
        }
        state = State(self.step, parameters_of(self.model), moments)
        return lambda: {0: state}
