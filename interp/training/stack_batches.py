"""The batches of a stack: what each replica would read alone, side by side.

All that a step reads lies in tensors of fixed shape and is chosen by a counter, itself a tensor:
no Python number enters a step, so that it can be captured as a CUDA graph and replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.config.training import Training
from interp.tasks import Batch
from interp.tasks.base import Reader, as_it_is
from interp.tasks.language.base import padded
from interp.training.batches import BatchBlock
from interp.training.device import sent

STEPS_ON_DEVICE = 4096  # steps whose learning rates and losses the device holds at once


@dataclass(frozen=True, eq=False)
class DeviceBatches:
    """The batches of some successive steps, for every replica, on the device.

    Attributes:
        start: The first of the steps.
        end: The first step after them.
        table: Examples by name: `[row, ...]` where shared, otherwise `[replica, row, ...]`. Where
            there is no order, rows are cut into batches: `[.., step, row, ...]`.
        order: Rows in the order they are read; None where batches are whole or already cut.
        rates: Learning rates, in float64.
        is_shared: Whether all replicas read one table.
        is_whole: Whether every batch is the whole table.
        all_scored: Whether every answer counts, so that `scored` need not be looked up.
        widths: The width each step's batch is padded to, enough for every replica's sentences.
        read: Makes a batch of rows (`Task.reader`).
    """

    start: int
    end: int
    table: Batch
    order: Int[Tensor, "step replica row"] | None
    rates: Float[Tensor, "step replica 1"]
    is_shared: bool
    is_whole: bool
    all_scored: bool = False
    widths: tuple[int, ...] = ()
    read: Reader = as_it_is

    @property
    def batch_is_shared(self) -> bool:
        """Whether a batch has no axis of replicas."""
        return self.is_shared and self.order is None

    def is_like(self, other: "DeviceBatches") -> bool:
        """Whether a step captured on the other batches can read these in their place."""
        return self._shapes() == other._shapes()

    def copied_into(self, other: "DeviceBatches") -> "DeviceBatches":
        """These batches in the memory of others like them."""
        for mine, theirs in zip(self._tensors(), other._tensors(), strict=True):
            if mine is not theirs:
                theirs.copy_(mine)
        return replace(other, start=self.start, end=self.end, widths=self.widths)

    def _tensors(self) -> list[Tensor]:
        order = [] if self.order is None else [self.order]
        return [*self.table.values(), *order, self.rates]

    def _shapes(self) -> list[object]:
        flags = [self.is_shared, self.is_whole, self.order is None, self.all_scored, self.read]
        return [*flags, *self.table] + [(values.shape, values.dtype) for values in self._tensors()]

    def width(self, step: int) -> int | None:
        """The width that the batch of a step is padded to; None without padding."""
        return self.widths[step - self.start] if self.widths else None

    def batch(self, place: Int[Tensor, "1"], width: int | None) -> Batch:
        """The batch at `place`, counted from the first step, padded to a width."""
        return self.read(self._rows(place, width))

    def _rows(self, place: Int[Tensor, "1"], width: int | None) -> Batch:
        if self.is_whole:
            return self.table
        if self.order is None:
            axis = 0 if self.is_shared else 1
            return {
                name: values.index_select(axis, place).squeeze(axis)
                for name, values in self.table.items()
            }
        rows = self.order.index_select(0, place)[0]
        shape = rows.shape
        if not self.is_shared:
            count = self.table["targets" if width is None else "offsets"].shape[1]
            rows = rows + torch.arange(len(rows), device=rows.device)[:, None] * count
        if width is not None:
            lines = {"flat": self.table["flat"], "offsets": self.table["offsets"].flatten()}
            return padded(lines, width, rows)
        # Replica r's row i is row r * count + i of a flat table: on a CPU many times faster to
        # look up than by two axes.
        flat = {
            name: values if self.is_shared else values.flatten(0, 1)
            for name, values in self.table.items()
        }
        batch = {
            name: values.index_select(0, rows.flatten()).unflatten(0, shape)
            for name, values in flat.items()
            if not (name == "scored" and self.all_scored)
        }
        return {"scored": torch.ones_like(batch["targets"], dtype=torch.bool)} | batch


def device_batches(
    blocks: Sequence[BatchBlock],
    table: Batch,
    trainings: Sequence[Training],
    step: int,
    *,
    all_scored: bool = False,
) -> DeviceBatches:
    """The batches among which a step's lie.

    Args:
        blocks: Each replica's block at that step, which differ in nothing but what they hold; only
            the first where all would read the same.
        table: Their tables, side by side (`side_by_side`).
        trainings: How each replica is trained.
        step: The step.
        all_scored: Whether every answer of the tables counts.
    """
    first, order = blocks[0], None
    start, end, rates_end = first.start, first.end, first.end
    is_shared = all(values.ndim == first.table[name].ndim for name, values in table.items())
    if first.is_whole:
        start += (step - start) // STEPS_ON_DEVICE * STEPS_ON_DEVICE
        rates_end = start + STEPS_ON_DEVICE  # one shape, so that captured steps can read on
        end = min(rates_end, end)
    elif first.order is None:
        axis = 0 if is_shared else 1
        table = {name: _cut(values, first.size, axis) for name, values in table.items()}
        rates_end = start + table["targets"].shape[axis]
    else:
        orders = [block.order for block in blocks if block.order is not None]
        order = torch.stack([_cut(rows, first.size, 0) for rows in orders], dim=1)
        rates_end = start + len(order)  # a phase may end within an epoch
    device = next(iter(table.values())).device
    rates = sent(learning_rates(trainings, start, rates_end), device)
    widths = tuple(map(max, zip(*(block.widths for block in blocks), strict=True)))
    flags = (is_shared, first.is_whole, all_scored)
    return DeviceBatches(start, end, table, order, rates, *flags, widths, first.read)


def side_by_side(tables: Sequence[Batch]) -> Batch:
    """Tables of examples `[replica, row, ...]`; a single one, for all replicas, as it is."""
    first, *others = tables
    if not others:
        return first
    if "offsets" in first:
        return _end_to_end(tables)
    return {name: torch.stack([table[name] for table in tables]) for name in first}


def _end_to_end(tables: Sequence[Batch]) -> Batch:
    """Sentences of all replicas in one row of tokens, offsets `[replica, sentence + 1]` into it."""
    sizes = torch.tensor([len(table["flat"]) for table in tables])
    begins = (sizes.cumsum(0) - sizes).to(tables[0]["offsets"].device)
    offsets = torch.stack([table["offsets"] for table in tables])
    flat = torch.cat([table["flat"] for table in tables])
    return {"flat": flat, "offsets": offsets + begins[:, None]}


def _cut(values: Tensor, size: int, axis: int) -> Tensor:
    """An axis of rows cut into steps of `size` rows; rows left at the end are not used."""
    steps = values.shape[axis] // size
    return values.narrow(axis, 0, steps * size).unflatten(axis, (steps, size))


def learning_rates(
    trainings: Sequence[Training], start: int, end: int
) -> Float[Tensor, "step replica 1"]:
    """The learning rate of every replica at every step, in float64.

    Replicas share the shape of the schedule and differ in its height.
    """
    first = trainings[0]
    shape = [first.learning_rate(step) / first.lr for step in range(start, end)]
    heights = [training.lr for training in trainings]
    column = torch.tensor(shape, dtype=torch.double)[:, None, None]
    return column * torch.tensor(heights, dtype=torch.double)[:, None]
