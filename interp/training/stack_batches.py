"""The batches of a stack: what each member would read alone, side by side.

All that a step reads lies in tensors of fixed shape and is chosen by a counter, itself a tensor:
no number of Python's enters a step, so that it can be captured as a CUDA graph and replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.config.training import Training
from interp.tasks import Batch
from interp.tasks.base import Reader, as_it_is
from interp.training.batches import Stretch, padded
from interp.training.device import sent

WINDOW = 4096  # steps of learning rates and losses held on the device


@dataclass(frozen=True, eq=False)
class Window:
    """The batches of some successive steps, for every member.

    Attributes:
        start: The first of the steps.
        end: The first step after them.
        table: Examples by name: `[row, ...]` where shared, otherwise `[member, row, ...]`; with
            rows cut into batches, `[.., step, row, ...]`, where there is no order.
        order: Rows in the order they are read; None where batches are whole or already cut.
        rates: Learning rates, in float64.
        is_shared: Whether all members read one table.
        is_whole: Whether every batch is the whole table.
        all_scored: Whether every answer counts, so that `scored` need not be looked up.
        widths: What the batch of each step is padded to, wide enough for every member's.
        read: Makes a batch of rows (`Task.reader`).
    """

    start: int
    end: int
    table: Batch
    order: Int[Tensor, "step member row"] | None
    rates: Float[Tensor, "step member 1"]
    is_shared: bool
    is_whole: bool
    all_scored: bool = False
    widths: tuple[int, ...] = ()
    read: Reader = as_it_is

    @property
    def batch_is_shared(self) -> bool:
        """Whether a batch has no axis of members."""
        return self.is_shared and self.order is None

    def is_like(self, other: "Window") -> bool:
        """Whether a step captured on the other can read this one in its place."""
        return self._shapes() == other._shapes()

    def copied_into(self, other: "Window") -> "Window":
        """This window, in the memory of another like it."""
        for mine, theirs in zip(self._tensors(), other._tensors(), strict=True):
            if mine is not theirs:
                theirs.copy_(mine)
        return replace(other, start=self.start, end=self.end, widths=self.widths)

    def _tensors(self) -> list[Tensor]:
        order = [] if self.order is None else [self.order]
        return [*self.table.values(), *order, self.rates]

    def _shapes(self) -> list[object]:
        flags = [self.is_shared, self.is_whole, self.order is None, self.all_scored, self.read]
        return [*flags, *self.table] + [(each.shape, each.dtype) for each in self._tensors()]

    def width(self, step: int) -> int | None:
        """What the batch of a step is padded to; None where there is no padding to do."""
        return self.widths[step - self.start] if self.widths else None

    def batch(self, place: Int[Tensor, "1"], width: int | None) -> Batch:
        """The batch of a step, counted from the first, padded to a width."""
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
            return padded(self.table["flat"], self.table["offsets"].flatten(), rows, width)
        # Rows of a flat table: many times faster on a CPU than indexing by two axes.
        flat = {
            name: values if self.is_shared else values.flatten(0, 1)
            for name, values in self.table.items()
        }
        read = {
            name: values.index_select(0, rows.flatten()).unflatten(0, shape)
            for name, values in flat.items()
            if not (name == "scored" and self.all_scored)
        }
        return {"scored": torch.ones_like(read["targets"], dtype=torch.bool)} | read


def window(
    stretches: Sequence[Stretch],
    table: Batch,
    trainings: Sequence[Training],
    step: int,
    *,
    all_scored: bool = False,
) -> Window:
    """The window that a step lies in.

    Args:
        stretches: Every member's stretch at that step, alike in all but what they hold; the first
            alone where all would read the same.
        table: Their tables, side by side (`side_by_side`).
        trainings: Every member's training.
        step: The step.
        all_scored: Whether every answer of the tables counts.
    """
    first, order = stretches[0], None
    start, end, rates_end = first.start, first.end, first.end
    is_shared = all(values.ndim == first.table[name].ndim for name, values in table.items())
    if first.is_whole:
        start += (step - start) // WINDOW * WINDOW
        rates_end = start + WINDOW  # one shape for all windows
        end = min(rates_end, end)
    elif first.order is None:
        axis = 0 if is_shared else 1
        table = {name: _cut(values, first.size, axis) for name, values in table.items()}
        rates_end = start + table["targets"].shape[axis]
    else:
        orders = [each.order for each in stretches if each.order is not None]
        order = torch.stack([_cut(each, first.size, 0) for each in orders], dim=1)
        rates_end = start + len(order)  # a phase may end within an epoch
    device = next(iter(table.values())).device
    rates = sent(learning_rates(trainings, start, rates_end), device)
    widths = tuple(map(max, zip(*(each.widths for each in stretches), strict=True)))
    told = (is_shared, first.is_whole, all_scored, widths, first.read)
    return Window(start, end, table, order, rates, *told)


def side_by_side(tables: Sequence[Batch]) -> Batch:
    """Tables of examples `[member, row, ...]`; a single one, for all members, as it is."""
    first, *others = tables
    if not others:
        return first
    if "offsets" in first:
        return _end_to_end(tables)
    return {name: torch.stack([table[name] for table in tables]) for name in first}


def _end_to_end(tables: Sequence[Batch]) -> Batch:
    """Sentences of all members in one row of tokens, offsets `[member, sentence + 1]` into it."""
    sizes = torch.tensor([len(table["flat"]) for table in tables])
    begins = (sizes.cumsum(0) - sizes).to(tables[0]["offsets"].device)
    offsets = torch.stack([table["offsets"] for table in tables])
    flat = torch.cat([table["flat"] for table in tables])
    return {"flat": flat, "offsets": offsets + begins[:, None]}


def _cut(values: Tensor, size: int, axis: int) -> Tensor:
    """An axis of rows as steps and rows; what is left at the end is not used."""
    steps = values.shape[axis] // size
    return values.narrow(axis, 0, steps * size).unflatten(axis, (steps, size))


def learning_rates(
    trainings: Sequence[Training], start: int, end: int
) -> Float[Tensor, "step member 1"]:
    """The learning rate of every member at every step, in float64.

    Members share the shape of the schedule and differ in its height.
    """
    first = trainings[0]
    shape = [first.learning_rate(step) / first.lr for step in range(start, end)]
    heights = [training.lr for training in trainings]
    column = torch.tensor(shape, dtype=torch.double)[:, None, None]
    return column * torch.tensor(heights, dtype=torch.double)[:, None]
