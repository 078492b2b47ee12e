"""A stack of models: its state, the one step that updates all of them, and their metrics.

The models are called replicas. They share shapes, task and options, and differ in seeds and in the
options named by `interp.training.optimizers.PER_REPLICA_OPTIONS`. Side by side they are one matrix
of numbers with a row for each. A step draws a batch, runs all replicas forward and backward under
vmap, and updates them. It reads and writes nothing but tensors, so that on a GPU it is captured
once as a CUDA graph.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import pad

from hooks import Examples, Snapshot, build
from hooks.fast.stack import Layout, StackedLogits, stacked_logits
from hooks.models import HookedModel, move
from interp.config import Experiment, Training
from interp.tasks import Batch, Task, model_inputs
from interp.training.batches import (
    STEPS_ON_DEVICE,
    DeviceBatches,
    Tables,
    block_source,
    device_batches,
    dropout_seed,
    has_dropout,
    side_by_side,
)
from interp.training.cuda_graph import Recorder, Step, captured, recorder_for
from interp.training.device import sent_batch
from interp.training.optimizers import MOMENTS, StackOptimizer
from interp.training.state import Row, State, is_trained

MAX_GRADED_LOGITS = 2**25  # logits of all replicas that are graded together, 256 MiB of float64
MAX_ACTIVATIONS = 2**26  # numbers in the widest layer of a forward pass of all replicas


@dataclass(frozen=True, eq=False)
class DataCache:
    """Data that were drawn already, for stacks that are rebuilt when replicas leave.

    Attributes:
        tables: Fixed training sets by phase and data seed.
        batches: Batches that are graded, by split and data seed.
        examples: Examples that are scored by a task's own `score`, by split and data seed.
    """

    tables: Tables = field(default_factory=dict)
    batches: dict[tuple[str, int], Batch] = field(default_factory=dict)
    examples: dict[tuple[str, int], Examples] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StackState:
    """Many models, and what their updates change, at one step.

    Attributes:
        experiments: One for each replica.
        trainings: How each replica is trained; they differ in `PER_REPLICA_OPTIONS` alone.
        model: A live model of their kind; its own parameters are not read.
        layout: Where each trained parameter lies in a row.
        trained: The trained parameters, updated in place.
        frozen: The other parameters, by name `[replica, ...]`.
        optimizer: Updates `trained`.
        step: Updates made.
    """

    experiments: tuple[Experiment, ...]
    trainings: tuple[Training, ...]
    model: HookedModel
    layout: Layout
    trained: Float[Tensor, "replica parameter"]
    frozen: Mapping[str, Tensor]
    optimizer: StackOptimizer
    step: int

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All parameters by name, `[replica, ...]`."""
        return self.layout.split(self.trained) | dict(self.frozen)

    def copied(self) -> "StackState":
        """The same in memory of its own, which later updates do not reach."""
        moments = {name: value.clone() for name, value in self.optimizer.moments.items()}
        optimizer = replace(self.optimizer, moments=moments)
        return replace(self, trained=self.trained.detach().clone(), optimizer=optimizer)


def assembled(
    experiments: Sequence[Experiment], states: Sequence[State], device: torch.device
) -> StackState:
    """A stack, on a device, of replicas that stand at one step."""
    trainings = tuple(experiment.require_training() for experiment in experiments)
    first, training, step = experiments[0], trainings[0], states[0].step
    model = build(first.model, first.task.sizes, seed=0, dtype=training.dtype)
    move(model, device)
    model.train()
    names = [name for name, _ in model.named_parameters()]
    layout = Layout(
        {
            name: tuple(states[0].parameters[name].shape)
            for name in names
            if is_trained(name, training)
        }
    )
    trained = layout.join([state.parameters for state in states]).to(device).requires_grad_()
    moments = {
        moment: layout.join([_moment_of(state, moment) for state in states]).to(device)
        for moment in MOMENTS[training.optimizer]
    }
    frozen = {
        name: torch.stack([state.parameters[name] for state in states]).to(device)
        for name in names
        if name not in layout.shapes
    }
    return StackState(
        tuple(experiments),
        trainings,
        model,
        layout,
        trained,
        frozen,
        StackOptimizer.of(trained, trainings, moments, training.updates_remembered(step)),
        step,
    )


def _moment_of(state: State, name: str) -> dict[str, Tensor]:
    """A moment of every parameter: 0 before the first update, and where a lone model needs none."""
    return {
        parameter: state.moments.get(f"{name}/{parameter}", torch.zeros_like(value))
        for parameter, value in state.parameters.items()
    }


def states_of(stack: StackState) -> list[State]:
    """The state of each replica on the CPU, as if it had been trained alone."""
    parameters = {name: value.detach().cpu() for name, value in stack.parameters.items()}
    moments = {
        f"{moment}/{name}": value
        for moment, matrix in stack.optimizer.moments.items()
        for name, value in stack.layout.split(matrix.cpu()).items()
    }
    return [
        State(
            stack.step,
            {name: value[index] for name, value in parameters.items()},
            {name: value[index] for name, value in moments.items()} if stack.step else {},
        )
        for index in range(len(stack.experiments))
    ]


class StackStepper:
    """Updates and scores the replicas of a stack together (a `Stepper` of `loop`).

    Args:
        stack: The stack.
        cache: Data drawn already; newly drawn data are added.
        recorder: Records steps so that they can be replayed; data are then drawn ahead, too.
            `recorder_for` where left out.

    Attributes:
        stack: The stack, whose tensors are updated in place.
        step: Updates made.
        losses: Training losses of the latest steps, `[step % STEPS_ON_DEVICE, replica]`.
        is_captured: Whether the last step ran as a recorded one.
    """

    def __init__(
        self, stack: StackState, cache: DataCache | None = None, recorder: Recorder | None = None
    ) -> None:
        device, first, training = stack.trained.device, stack.experiments[0], stack.trainings[0]
        self.stack = stack
        self.step = stack.step
        self._training = training
        self._cache = cache or DataCache()
        self._loss_dtype = getattr(torch, training.loss_dtype)
        self.losses = torch.zeros(
            (STEPS_ON_DEVICE, len(stack.experiments)), dtype=self._loss_dtype, device=device
        )
        self.is_captured = False
        self._logits = stacked_logits(stack.model, first.model, first.task.positions)
        self._is_shared = len({replica.seeds.data for replica in stack.experiments}) == 1
        self._recorder = recorder or recorder_for(device)
        ahead = None if self._recorder is None else ThreadPoolExecutor(1)
        self._sources = [
            block_source(replica, device, self._cache.tables, ahead)
            for replica in stack.experiments
        ]
        self._place = torch.zeros(1, dtype=torch.long, device=device)
        self._updates = torch.tensor([self.step], device=device)
        self._tables: list[Batch] = []
        self._table: Batch = {}
        self._all_scored = False
        self._batches: DeviceBatches | None = None
        self._has_dropout = has_dropout(stack.model)
        self._step_by_width: dict[int | None, Step] = {}

    def advance(self, to: int) -> None:
        """Makes updates up to a step, which training has, without waiting for the device."""
        assert to <= self._training.steps
        while self.step < to:
            batches = self._load()
            end = min(to, batches.end)
            for step in range(self.step, end):
                width = batches.widths[step - batches.start] if batches.widths else None
                make_step = self._step_by_width.get(width) or self._prepare(batches, width)
                if self._training.resets_optimizer_at(step):
                    self.stack.optimizer.reset()
                if self._has_dropout:  # a graph, too, reads the seed when it is replayed
                    torch.manual_seed(dropout_seed(self.stack.experiments[0].seeds, step))
                make_step()
            self.step = end

    def scores(self) -> dict[int, Row]:
        """The metrics of each replica, by its number, as the models are now."""
        return dict(enumerate(self._scores()))

    @cached_property
    def _scores(self) -> Callable[[], list[Row]]:
        return stack_scores(self.stack, self._cache)

    def states(self) -> Callable[[], dict[int, State]]:
        """A function that gives the state of each replica, by its number, as it is now.

        On a GPU it may be called while later updates are made.
        """
        stack = self.stack.copied() if self.stack.trained.is_cuda else self.stack
        stack_now = replace(stack, step=self.step)
        return lambda: dict(enumerate(states_of(stack_now)))

    def _load(self) -> DeviceBatches:
        """The batches of the next step, put where a captured step reads them."""
        old = self._batches
        if old is not None and old.start <= self.step < old.end:
            return old
        source, *others = self._sources
        blocks = [source(self.step)]
        if not self._is_shared or blocks[0].order is not None:
            blocks += [other(self.step) for other in others]
        tables = [block.table for block in (blocks[:1] if self._is_shared else blocks)]
        # A fixed training set is laid out once, not in every epoch.
        if [id(table) for table in tables] != [id(table) for table in self._tables]:
            self._tables, self._table = tables, side_by_side(tables)
            # Asked only where rows are gathered, since it waits for the device.
            is_gathered = blocks[0].order is not None and "scored" in self._table
            self._all_scored = is_gathered and bool(self._table["scored"].all())
        batches = device_batches(
            blocks, self._table, self.stack.trainings, self.step, all_scored=self._all_scored
        )
        self._place.fill_(self.step - batches.start)
        if old is not None and batches.is_like(old):
            batches = batches.copied_into(old)
        else:
            self._step_by_width = {}
        self._batches = batches
        return batches

    def _prepare(self, batches: DeviceBatches, width: int | None) -> Step:
        """The step on batches of one width, recorded where it can be."""
        step: Step = partial(self._update, batches, width)
        if self._recorder is not None:
            optimizer = self.stack.optimizer
            counters = [optimizer.updates, self.losses, self._place, self._updates]
            changed = [self.stack.trained, *optimizer.moments.values(), *counters]
            replay = captured(step, changed, self._recorder)
            self.is_captured = replay is not None
            step = replay or step
        self._step_by_width[width] = step
        return step

    def _update(self, batches: DeviceBatches, width: int | None) -> None:
        """One step: batch, forward, backward, optimiser, and the loss noted; tensors only."""
        trained, optimizer = self.stack.trained, self.stack.optimizer
        losses = self._losses(batches.batch(self._place, width), batches.batch_is_shared)
        (gradient,) = torch.autograd.grad(losses.sum() * self._training.loss_scale, trained)
        optimizer.update(trained, gradient, batches.rates.index_select(0, self._place)[0])
        self.losses.index_copy_(0, self._updates % STEPS_ON_DEVICE, losses.detach()[None])
        self._updates.add_(1)
        self._place.add_(1)

    def _losses(self, batch: Batch, is_shared: bool) -> Float[Tensor, " replica"]:
        """The training loss of each replica."""
        logits = self._logits(self.stack.parameters, model_inputs(batch), is_shared)
        loss = vmap(self.stack.experiments[0].task.loss, in_dims=(0, None if is_shared else 0))
        return loss(logits.to(self._loss_dtype), dict(batch))


def stack_scores(stack: StackState, cache: DataCache) -> Callable[[], list[Row]]:
    """A function that scores all replicas as they are now, in their order, on their device.

    A task that scores in its own way (by decoding, say) scores them one at a time.

    Args:
        stack: The stack.
        cache: Examples drawn already; newly drawn ones are added.
    """
    first, device = stack.experiments[0], stack.trained.device
    task, seeds = first.task, [experiment.seeds.data for experiment in stack.experiments]
    if type(task).score is not Task.score:
        return lambda: _one_at_a_time(stack, cache.examples)
    logits = stacked_logits(stack.model, first.model, task.positions)
    splits = {
        split: _stacked(task, split, seeds, cache.batches, device) for split in task.evaluated
    }

    def scores() -> list[Row]:
        columns = {
            f"{split}.{name}": values.cpu().tolist()
            for split, (batch, is_shared) in splits.items()
            for name, values in _grades(stack, logits, batch, is_shared).items()
        }
        return [{name: column[i] for name, column in columns.items()} for i in range(len(seeds))]

    return scores


@torch.no_grad()
def _grades(
    stack: StackState, logits: StackedLogits, batch: Batch, is_shared: bool
) -> dict[str, Tensor]:
    """The grades of all replicas on one split, by name; as many at once as memory allows."""
    task = stack.experiments[0].task
    grade = vmap(task.grade, in_dims=(0, None if is_shared else 0))
    targets = batch["targets"] if is_shared else batch["targets"][0]
    at_once = max(1, MAX_GRADED_LOGITS // (targets.numel() * task.sizes.d_vocab_out))
    stack.model.train(False)
    grades = []
    for first in range(0, len(stack.experiments), at_once):
        replicas = slice(first, first + at_once)
        parameters = {name: value[replicas] for name, value in stack.parameters.items()}
        examples = batch if is_shared else {name: v[replicas] for name, v in batch.items()}
        outputs = _logits(logits, parameters, examples, is_shared, stack.model.cfg)
        grades.append(grade(outputs, dict(examples)))
    stack.model.train()
    return {name: torch.cat([by_name[name] for by_name in grades]) for name in grades[0]}


def _logits(
    logits: StackedLogits, parameters: Mapping[str, Tensor], batch: Batch, is_shared: bool, cfg: Any
) -> Float[Tensor, "replica row position d_vocab_out"]:
    """Logits of some replicas in float64, as many rows at a time as the widest layer allows."""
    inputs, axis = model_inputs(batch), 0 if is_shared else 1
    replicas, positions = len(next(iter(parameters.values()))), inputs.shape[axis + 1]
    # Numbers at each position of the widest activations: a weight's longest axis, or patterns.
    longest_axes = [max(value.shape[1:], default=1) for value in parameters.values()]
    widest = max(*longest_axes, positions * (getattr(cfg, "n_heads", None) or 0))
    size = max(1, MAX_ACTIVATIONS // (replicas * positions * widest))
    parts = [logits(parameters, rows, is_shared).double() for rows in inputs.split(size, dim=axis)]
    return torch.cat(parts, dim=1)


def _stacked(
    task: Task,
    split: str,
    seeds: list[int],
    cache: dict[tuple[str, int], Batch],
    device: torch.device,
) -> tuple[Batch, bool]:
    """Examples of a split on a device, and whether all replicas share them.

    Targets are those at the positions that the loss reads.
    """
    positions = slice(-1, None) if task.positions == "last" else slice(None)
    for seed in seeds:
        if (split, seed) not in cache:
            examples = task.examples(split, None, seed)
            cache[split, seed] = {
                "inputs" if examples.tokens is None else "tokens": examples.model_inputs,
                "targets": examples.targets[:, positions],
                "scored": examples.scored[:, positions],
            }
    batches = [cache[split, seed] for seed in seeds]
    if len(set(seeds)) == 1:
        return sent_batch(batches[0], device), True
    longest = max(batch["targets"].shape[1] for batch in batches)
    padded = [  # sentences to the positions of the longest sentence of any replica
        {
            name: pad(values, (0, longest - batch["targets"].shape[1]))
            for name, values in batch.items()
        }
        for batch in batches
    ]
    return sent_batch(side_by_side(padded), device), False


def _one_at_a_time(stack: StackState, cache: dict[tuple[str, int], Examples]) -> list[Row]:
    """The task's own scores of every replica, whose parameters take turns in the live model."""
    rows: list[Row] = []
    for index, experiment in enumerate(stack.experiments):
        with torch.no_grad():
            values = stack.parameters
            for name, parameter in stack.model.named_parameters():
                parameter.copy_(values[name][index])
        rows.append(task_scores(stack.model, experiment, cache))
    return rows


def task_scores(
    model: HookedModel, experiment: Experiment, cache: dict[tuple[str, int], Examples]
) -> Row:
    """The metrics of one model on every evaluated split, as its task scores them.

    Args:
        model: The live model.
        experiment: What it is trained by.
        cache: Examples drawn already, by split and data seed; newly drawn ones are added.
    """
    task, seed = experiment.task, experiment.seeds.data
    row: Row = {}
    for split in task.evaluated:
        if (split, seed) not in cache:
            cache[split, seed] = task.examples(split, None, seed)
        snapshot = Snapshot.of(model, cache[split, seed], config=experiment.model)
        row |= {f"{split}.{name}": value for name, value in task.score(snapshot).items()}
    return row
