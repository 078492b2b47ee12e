"""The updates of a stack: one step for all of its replicas.

The step draws a batch, runs all replicas forward and backward under vmap, and updates them. It
reads and writes nothing but tensors, so that on a GPU it is captured once as a CUDA graph.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from hooks.fast.stack import stacked_logits
from interp.tasks import Batch, model_inputs
from interp.training.batches import block_source, dropout_seed, has_dropout
from interp.training.cuda_graph import Recorder, Step, captured, recorder_for
from interp.training.stack_batches import (
    STEPS_ON_DEVICE,
    DeviceBatches,
    device_batches,
    side_by_side,
)
from interp.training.stack_scores import stack_scores
from interp.training.stack_state import DataCache, StackState, states_of
from interp.training.state import Row, State


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
        self._scores: Callable[[], list[Row]] | None = None
        self._loss_dtype = getattr(torch, training.loss_dtype)
        shape = (STEPS_ON_DEVICE, len(stack.experiments))
        self.losses = torch.zeros(shape, dtype=self._loss_dtype, device=device)
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
                width = batches.width(step)
                make_step = self._step_by_width.get(width) or self._prepare(batches, width)
                if self._training.resets_optimizer_at(step):
                    self.stack.optimizer.reset()
                if self._has_dropout:  # a graph, too, reads the seed when it is replayed
                    torch.manual_seed(dropout_seed(self.stack.experiments[0].seeds, step))
                make_step()
            self.step = end

    def scores(self) -> dict[int, Row]:
        """The metrics of each replica, by its number, as the models are now."""
        if self._scores is None:
            self._scores = stack_scores(self.stack, self._cache)
        return dict(enumerate(self._scores()))

    def states(self) -> Callable[[], dict[int, State]]:
        """A function that gives the state of each replica, by its number, as it is now.

        On a GPU it may be called while later updates are made.
        """
        stack = self.stack.copied() if self.stack.trained.is_cuda else self.stack
        stack = replace(stack, step=self.step)
        return lambda: dict(enumerate(states_of(stack)))

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
            replay = captured(step, self._changed, self._recorder)
            self.is_captured = replay is not None
            step = replay or step
        self._step_by_width[width] = step
        return step

    @property
    def _changed(self) -> list[Tensor]:
        """All tensors that a step changes."""
        optimizer = self.stack.optimizer
        counters = [optimizer.updates, self.losses, self._place, self._updates]
        return [self.stack.trained, *optimizer.moments.values(), *counters]

    def _update(self, batches: DeviceBatches, width: int | None) -> None:
        """One step: batch, forward, backward, optimiser, and the loss noted; tensors only."""
        trained, optimizer = self.stack.trained, self.stack.optimizer
        losses = self._losses(batches.batch(self._place, width), batches.batch_is_shared)
        (gradient,) = torch.autograd.grad(losses.sum() * self._training.loss_scale, trained)
        rates = batches.rates.index_select(0, self._place)[0]
        optimizer.update(trained, gradient, rates)
        self.losses.index_copy_(0, self._updates % STEPS_ON_DEVICE, losses.detach()[None])
        self._updates.add_(1)
        self._place.add_(1)

    def _losses(self, batch: Batch, is_shared: bool) -> Float[Tensor, " replica"]:
        """The training loss of each replica."""
        logits = self._logits(self.stack.parameters, model_inputs(batch), is_shared)
        axes = (0, None if is_shared else 0)
        loss = vmap(self.stack.experiments[0].task.loss, in_dims=axes)
        return loss(logits.to(self._loss_dtype), dict(batch))
