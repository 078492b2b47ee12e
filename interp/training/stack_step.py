"""Models that are trained together: one row of numbers a member, one step for all of them.

The step draws a batch, runs all members forward and backward under vmap, and updates them. It
reads and writes nothing but tensors, so that on a GPU it is captured once as a CUDA graph.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from hooks import build
from hooks.fast.stack import Layout, stacked_logits
from hooks.models import HookedModel, move
from interp.config.experiment import Experiment
from interp.tasks import Batch, model_inputs
from interp.training.batches import Tables, stretch_source
from interp.training.cuda_graph import Recorder, Step, captured, recorder_for
from interp.training.loop import dropout_seed, has_dropout, training_of
from interp.training.optimizers import MOMENTS, StackOptimizer
from interp.training.stack_batches import WINDOW, Window, side_by_side, window
from interp.training.state import Row, State, is_trained


@dataclass(frozen=True, eq=False)
class Parts:
    """What a stack is made of, at one step.

    Attributes:
        experiments: One a member.
        model: A live model of their kind; its own parameters are not read.
        layout: Where each trained parameter lies in a row.
        trained: The trained parameters, updated in place.
        frozen: The others, by name `[member, ...]`.
        optimizer: Updates `trained`.
        step: Updates made.
    """

    experiments: tuple[Experiment, ...]
    model: HookedModel
    layout: Layout
    trained: Float[Tensor, "member parameter"]
    frozen: Mapping[str, Tensor]
    optimizer: StackOptimizer
    step: int

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All parameters by name, `[member, ...]`."""
        return self.layout.split(self.trained) | dict(self.frozen)

    def copied(self) -> "Parts":
        """The same with tensors of its own, which later updates do not reach."""
        moments = {name: value.clone() for name, value in self.optimizer.moments.items()}
        optimizer = replace(self.optimizer, moments=moments)
        return replace(self, trained=self.trained.detach().clone(), optimizer=optimizer)


def assembled(
    experiments: Sequence[Experiment], states: Sequence[State], device: torch.device
) -> Parts:
    """The parts of a stack whose members stand at one step, on a device."""
    first, training = experiments[0], training_of(experiments[0])
    model = build(first.model, first.task.sizes, seed=0, dtype=training.dtype)
    move(model, device)
    model.train()
    names = [name for name, _ in model.named_parameters()]
    shapes = {name: tuple(states[0].parameters[name].shape) for name in names}
    layout = Layout({name: shapes[name] for name in names if is_trained(name, training)})
    trained = layout.join([state.parameters for state in states]).to(device)
    moments = {
        moment: layout.join([_remembered(state, moment) for state in states]).to(device)
        for moment in MOMENTS[training.optimizer]
    }
    frozen = {
        name: torch.stack([state.parameters[name] for state in states]).to(device)
        for name in names
        if name not in layout.shapes
    }
    step, trainings = states[0].step, [training_of(each) for each in experiments]
    leaf = trained.requires_grad_()
    remembered = training.updates_remembered(step)
    optimizer = StackOptimizer.of(leaf, trainings, moments, remembered)
    return Parts(tuple(experiments), model, layout, leaf, frozen, optimizer, step)


def _remembered(state: State, moment: str) -> dict[str, Tensor]:
    """A moment of every parameter: 0 before the first update, and where a lone model needs none."""
    return {
        name: state.moments.get(f"{moment}/{name}", torch.zeros_like(value))
        for name, value in state.parameters.items()
    }


def states_of(parts: Parts, rows: Sequence[list[Row]]) -> list[State]:
    """Every member's state on the CPU, as if it had been trained alone."""
    named = {name: value.detach().cpu() for name, value in parts.parameters.items()}
    moments = {
        f"{moment}/{name}": value
        for moment, matrix in parts.optimizer.moments.items()
        for name, value in parts.layout.split(matrix.cpu()).items()
    }
    return [
        State(
            parts.step,
            {name: value[index] for name, value in named.items()},
            {name: value[index] for name, value in moments.items()} if parts.step else {},
            rows[index],
        )
        for index in range(len(parts.experiments))
    ]


class Stepper:
    """Makes the updates of a stack.

    Args:
        parts: The stack.
        tables: Training sets drawn already (`stretch_source`); added to.
        recorder: Records steps so that they can be replayed; data are then drawn ahead, too.
            `recorder_for` where left out.

    Attributes:
        parts: The stack, whose tensors are updated in place.
        step: Updates made.
        losses: Training losses of the latest steps, `[step % WINDOW, member]`.
        is_captured: Whether the last step ran as a recorded one.
    """

    def __init__(
        self, parts: Parts, tables: Tables | None = None, recorder: Recorder | None = None
    ) -> None:
        device, first = parts.trained.device, parts.experiments[0]
        training, members = training_of(first), len(parts.experiments)
        self.parts = parts
        self.step = parts.step
        self._loss_dtype = getattr(torch, training.loss_dtype)
        self.losses = torch.zeros(WINDOW, members, dtype=self._loss_dtype, device=device)
        self.is_captured = False
        self._logits = stacked_logits(parts.model, first.model, first.task.positions)
        self._is_shared = len({each.seeds.data for each in parts.experiments}) == 1
        tables = {} if tables is None else tables
        self._recorder = recorder or recorder_for(device)
        ahead = None if self._recorder is None else ThreadPoolExecutor(1)
        self._sources = [stretch_source(e, device, tables, ahead) for e in parts.experiments]
        self._place = torch.zeros(1, dtype=torch.long, device=device)
        self._updates = torch.tensor([self.step], device=device)
        self._tables: list[Batch] = []
        self._table: Batch = {}
        self._all_scored = False
        self._window: Window | None = None
        self._drops = has_dropout(parts.model)
        self._runs: dict[int | None, Step] = {}  # a step for each width

    def advance(self, to: int) -> None:
        """Makes updates up to a step, which training has, without waiting for the device."""
        training = training_of(self.parts.experiments[0])
        assert to <= training.steps
        while self.step < to:
            if self._window is None or not self._window.start <= self.step < self._window.end:
                self._load()
            assert self._window is not None
            end = min(to, self._window.end)
            for step in range(self.step, end):
                width = self._window.width(step)
                run = self._runs.get(width) or self._prepare(width)
                if training.begins_anew(step):
                    self.parts.optimizer.begin_anew()
                if self._drops:  # a graph, too, reads the seed when it is replayed
                    torch.manual_seed(dropout_seed(self.parts.experiments[0], step))
                run()
            self.step = end

    def _load(self) -> None:
        """Puts the next window where a captured step reads it, or prepares another step."""
        source, *others = self._sources
        stretches = [source(self.step)]
        if not self._is_shared or stretches[0].order is not None:
            stretches += [each(self.step) for each in others]
        tables = [each.table for each in (stretches[:1] if self._is_shared else stretches)]
        # A fixed training set is laid out once, not an epoch.
        if [id(each) for each in tables] != [id(each) for each in self._tables]:
            self._tables, self._table = tables, side_by_side(tables)
            # Asked where rows are gathered alone, since it waits for the device.
            is_gathered = stretches[0].order is not None and "scored" in self._table
            self._all_scored = is_gathered and bool(self._table["scored"].all())
        trainings = [training_of(each) for each in self.parts.experiments]
        told = (stretches, self._table, trainings, self.step)
        fresh = window(*told, all_scored=self._all_scored)
        if self._window is not None and fresh.is_like(self._window):
            self._window = fresh.copied_into(self._window)
        else:
            self._window, self._runs = fresh, {}
        self._place.fill_(self.step - fresh.start)

    def _prepare(self, width: int | None) -> Step:
        step: Step = partial(self._update, width)
        if self._recorder is not None:
            replay = captured(step, self._changed, self._recorder)
            self.is_captured = replay is not None
            step = replay or step
        self._runs[width] = step
        return step

    @property
    def _changed(self) -> list[Tensor]:
        """All that a step changes."""
        optimizer = self.parts.optimizer
        counters = [optimizer.updates, self.losses, self._place, self._updates]
        return [self.parts.trained, *optimizer.moments.values(), *counters]

    def _update(self, width: int | None) -> None:
        """One step: batch, forward, backward, optimiser, and the loss noted; tensors only."""
        assert self._window is not None
        parts, training = self.parts, training_of(self.parts.experiments[0])
        losses = self._losses(self._window.batch(self._place, width))
        (gradient,) = torch.autograd.grad(losses.sum() * training.loss_scale, parts.trained)
        rates = self._window.rates.index_select(0, self._place)[0]
        parts.optimizer.update(parts.trained, gradient, rates)
        self.losses.index_copy_(0, self._updates % WINDOW, losses.detach()[None])
        self._updates.add_(1)
        self._place.add_(1)

    def _losses(self, batch: Batch) -> Float[Tensor, " member"]:
        assert self._window is not None
        task, is_shared = self.parts.experiments[0].task, self._window.batch_is_shared
        logits = self._logits(self.parts.parameters, model_inputs(batch), is_shared)
        axes = (0, None if is_shared else 0)
        return vmap(task.loss, in_dims=axes)(logits.to(self._loss_dtype), dict(batch))
