"""What each update reads and draws: a pure function of the experiment and the step.

Training is cut into blocks of successive steps, each of which reads one table of examples. A fixed
training set is one table, read in one permutation for each epoch, from (order seed, phase, epoch).
Endless data are drawn as tables of some batches, table c from (data seed, phase, c). So a resumed
run, a model trained alone and a replica in a stack see the same batches, whether or not a block is
drawn ahead of the step that needs it.

A stack reads side by side what each of its replicas would read alone. All that a step of a stack
reads lies in tensors of fixed shape and is chosen by a counter, itself a tensor: no Python number
enters the step, so that it can be captured as a CUDA graph and replayed.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.models import HookedModel
from interp.config import Experiment, Phase, Seeds, Training
from interp.randomness import generator
from interp.tasks import Batch, Task
from interp.tasks.base import Reader, as_it_is
from interp.tasks.language.base import padded
from interp.training.device import sent, sent_batch

Tables = dict[tuple[int, int], Batch]  # fixed training sets by phase and data seed
Key = tuple[int, ...]  # seeds, phase and position of a draw
Draw = Callable[[int, Key], Batch]  # draws a number of examples, which the key alone decides
MIN_ORDERED_ROWS = 2**14  # rows: a block holds as many short epochs as make about this many
STEPS_ON_DEVICE = 4096  # steps whose learning rates and losses the device holds at once


@dataclass(frozen=True, eq=False)
class BatchBlock:
    """The batches of successive steps.

    Attributes:
        start: The first of the steps.
        steps: How many steps there are.
        table: The examples, by name `[row, ...]`.
        order: Rows in the order they are read; None stands for the table's order.
        size: Rows in a batch.
        widths: The width each batch of sentences is padded to (`Task.flat`); empty without padding.
        read: Makes a batch of rows (`Task.reader`).
    """

    start: int
    steps: int
    table: Batch
    order: Int[Tensor, " row"] | None
    size: int
    widths: tuple[int, ...] = ()
    read: Reader = as_it_is

    @property
    def end(self) -> int:
        """The first step after it."""
        return self.start + self.steps

    @property
    def is_whole(self) -> bool:
        """Whether every batch is the whole table."""
        return self.order is None and self.size == len(self.table["targets"])

    def batch(self, step: int) -> Batch:
        """The batch of the update that leads from `step` to the next."""
        return self.read(self._rows(step))

    def _rows(self, step: int) -> Batch:
        if self.is_whole:
            return self.table
        first = (step - self.start) * self.size
        rows = slice(first, first + self.size)
        chosen = rows if self.order is None else self.order[rows]
        if self.widths and isinstance(chosen, Tensor):
            return padded(self.table, self.widths[step - self.start], chosen)
        return {name: values[chosen] for name, values in self.table.items()}


BlockSource = Callable[[int], BatchBlock]  # from a step to the block it lies in


def batch_source(experiment: Experiment, device: torch.device) -> Callable[[int], Batch]:
    """A function from a step to its batch, on the device."""
    block_at = block_source(experiment, device)
    return lambda step: block_at(step).batch(step)


def block_source(
    experiment: Experiment,
    device: torch.device,
    tables: Tables | None = None,
    ahead: Executor | None = None,
) -> BlockSource:
    """A function from a step to the block it lies in, on the device; it remembers the last block.

    Args:
        experiment: What is trained.
        device: Where the tables are kept.
        tables: Fixed training sets drawn already; newly drawn ones are added.
        ahead: Draws each block, on the CPU, while the steps before it are made. An error there
            is raised at the step that needs the block.
    """
    training, tables = experiment.require_training(), {} if tables is None else tables
    schedule = training.schedule or (Phase(steps=training.steps, tasks=(experiment.task,)),)
    ends = list(accumulate(phase.steps for phase in schedule))
    sources = [
        _phase_source(experiment, phase, index, device, tables)
        for index, phase in enumerate(schedule)
    ]
    # Rows of a mixture are batches already, since its tasks may have several readers.
    readers = [
        phase.tasks[0].reader(device) if len(phase.tasks) == 1 else as_it_is for phase in schedule
    ]
    last_block: list[BatchBlock] = []  # empty before the first step
    drawn_ahead: dict[int, Future[BatchBlock]] = {}  # by the first step of the block

    def draw(step: int) -> BatchBlock:
        index = bisect_right(ends[:-1], step)
        start = ends[index] - schedule[index].steps
        block = sources[index](step - start)
        return replace(
            block,
            start=start + block.start,
            steps=min(block.steps, schedule[index].steps - block.start),
            read=readers[index],
        )

    def block_at(step: int) -> BatchBlock:
        if not last_block or not last_block[0].start <= step < last_block[0].end:
            future = drawn_ahead.pop(step, None)
            block = draw(step) if future is None else future.result()
            order = None if block.order is None else sent(block.order, device)
            last_block[:] = [replace(block, table=sent_batch(block.table, device), order=order)]
            drawn_ahead.clear()
            if ahead is not None and block.end < training.steps:
                drawn_ahead[block.end] = ahead.submit(draw, block.end)
        return last_block[0]

    return block_at


def _phase_source(
    experiment: Experiment, phase: Phase, index: int, device: torch.device, tables: Tables
) -> BlockSource:
    """The blocks of one phase, with steps counted from its first.

    Args:
        experiment: The experiment it is part of.
        phase: The phase.
        index: Its place in the schedule.
        device: Where fixed training sets are kept.
        tables: Fixed training sets drawn already; a newly drawn one is added.
    """
    training, seeds, task = experiment.require_training(), experiment.seeds, phase.tasks[0]
    count, is_mixture = task.train_count, len(phase.tasks) > 1
    if is_mixture or count is None:
        draw = (
            mixture(phase, seeds.data)
            if is_mixture
            else lambda count, key: task.data(count, generator(*key))  # read by `Task.reader`
        )
        size = training.require_batch_size("examples are drawn by batches")
        return _chunks(draw, size, training.chunk, (seeds.data, index))
    if (index, seeds.data) not in tables:
        random = generator(seeds.data, 0)
        drawn = task.flat(random) if task.widths else task.data(None, random)
        tables[index, seeds.data] = sent_batch(drawn, device)
    table, size = tables[index, seeds.data], min(training.batch_size or count, count)
    if task.widths:
        return _sentences(table, task.widths, size, (seeds.order, index))
    if size == count:
        whole = BatchBlock(0, training.steps, table, None, count)
        return lambda step: whole
    return _epochs(table, size, (seeds.order, index))


def _epochs(table: Batch, size: int, key: Key) -> BlockSource:
    """Batches without replacement; rows left over at the end of an epoch are not used.

    A block is some whole epochs, so that short ones are not laid out one at a time.
    """
    count = len(table["targets"])
    steps = count // size  # of an epoch
    epochs = max(1, MIN_ORDERED_ROWS // (steps * size))

    def block_at(step: int) -> BatchBlock:
        first = step // (steps * epochs) * epochs
        orders = [
            torch.randperm(count, generator=generator(*key, epoch))[: steps * size]
            for epoch in range(first, first + epochs)
        ]
        return BatchBlock(first * steps, epochs * steps, table, torch.cat(orders), size)

    return block_at


def _sentences(table: Batch, widths: tuple[int, ...], size: int, key: Key) -> BlockSource:
    """Batches of sentences without replacement, each padded to the least width that holds it."""
    lengths = table["offsets"].diff().cpu()
    epochs_at = _epochs({"targets": lengths}, size, key)
    known_widths = torch.tensor(widths)
    if int(lengths.max()) > widths[-1]:
        raise ValueError(f"a sentence of {int(lengths.max())} tokens exceeds {widths[-1]}, n_ctx")

    def block_at(step: int) -> BatchBlock:
        epochs = epochs_at(step)
        longest = lengths[epochs.order].unflatten(0, (-1, size)).amax(1)
        least = known_widths[torch.searchsorted(known_widths, longest)]
        return replace(epochs, table=table, widths=tuple(least.tolist()))

    return block_at


def _chunks(draw: Draw, size: int, chunk: int, key: Key) -> BlockSource:
    """Batches of data drawn without end: a block is a chunk of batches."""

    def block_at(step: int) -> BatchBlock:
        index = step // chunk
        return BatchBlock(index * chunk, chunk, draw(size * chunk, (*key, index)), None, size)

    return block_at


def mixture(phase: Phase, data_seed: int) -> Draw:
    """Draws batches in which the task of each row is drawn by its share.

    Args:
        phase: Its tasks and their weights.
        data_seed: The seed of fixed training sets, which are drawn from with replacement.

    Returns:
        A function that raises ValueError where the tasks' examples are of different shapes.
    """
    weights = torch.tensor(phase.weights or (1.0,) * len(phase.tasks))
    draws = [_batch_drawer(task, data_seed) for task in phase.tasks]

    def draw(count: int, key: Key) -> Batch:
        chosen = torch.multinomial(weights, count, replacement=True, generator=generator(*key, 0))
        counts = chosen.bincount(minlength=len(draws)).tolist()
        parts = [
            draws[index](task_count, (*key, index + 1))
            for index, task_count in enumerate(counts)
            if task_count  # a rare task may have no row
        ]
        _check_shapes(parts)
        place = chosen.argsort(stable=True).argsort()  # of each row among the parts, end to end
        return {name: torch.cat([part[name] for part in parts])[place] for name in parts[0]}

    return draw


def _batch_drawer(task: Task, data_seed: int) -> Draw:
    """Draws batches of one task, with replacement where its training set is fixed."""
    read = task.reader(torch.device("cpu"))
    if task.train_count is None:
        return lambda count, key: read(task.data(count, generator(*key)))
    table = task.data(None, generator(data_seed, 0))

    def draw(count: int, key: Key) -> Batch:
        rows = torch.randint(len(table["targets"]), (count,), generator=generator(*key))
        return read({name: values[rows] for name, values in table.items()})

    return draw


def _check_shapes(parts: list[Batch]) -> None:
    shapes = [{name: tuple(values.shape[1:]) for name, values in part.items()} for part in parts]
    for shape in shapes:
        if shape != shapes[0]:
            raise ValueError(
                f"training.schedule: examples of a mixture have one shape, these have {shapes[0]} "
                f"and {shape}: give each task a stretch of its own"
            )


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
        for source, target in zip(self._tensors(), other._tensors(), strict=True):
            if source is not target:
                target.copy_(source)
        return replace(other, start=self.start, end=self.end, widths=self.widths)

    def _tensors(self) -> list[Tensor]:
        order = [] if self.order is None else [self.order]
        return [*self.table.values(), *order, self.rates]

    def _shapes(self) -> list[object]:
        flags = [self.is_shared, self.is_whole, self.order is None, self.all_scored, self.read]
        return [*flags, *self.table, *((values.shape, values.dtype) for values in self._tensors())]

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
        if not self.is_shared:
            count = self.table["targets" if width is None else "offsets"].shape[1]
            rows = rows + torch.arange(len(rows), device=rows.device)[:, None] * count
        if width is not None:
            offsets = self.table["offsets"].flatten()
            return padded({"flat": self.table["flat"], "offsets": offsets}, width, rows)
        # Replica r's row i is row r * count + i of a flat table: on a CPU many times faster to
        # look up than by two axes.
        flat = {
            name: values if self.is_shared else values.flatten(0, 1)
            for name, values in self.table.items()
        }
        batch = {
            name: values.index_select(0, rows.flatten()).unflatten(0, rows.shape)
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
        order = torch.stack(
            [_cut(block.order, first.size, 0) for block in blocks if block.order is not None], dim=1
        )
        rates_end = start + len(order)  # a phase may end within an epoch
    return DeviceBatches(
        start,
        end,
        table,
        order,
        sent(learning_rates(trainings, start, rates_end), next(iter(table.values())).device),
        is_shared=is_shared,
        is_whole=first.is_whole,
        all_scored=all_scored,
        widths=tuple(map(max, zip(*(block.widths for block in blocks), strict=True))),
        read=first.read,
    )


def side_by_side(tables: Sequence[Batch]) -> Batch:
    """Tables of examples `[replica, row, ...]`; a single one, for all replicas, as it is.

    Sentences of all replicas are one row of tokens, with offsets `[replica, sentence + 1]` into it.
    """
    if len(tables) == 1:
        return tables[0]
    if "offsets" not in tables[0]:
        return {name: torch.stack([table[name] for table in tables]) for name in tables[0]}
    sizes = torch.tensor([len(table["flat"]) for table in tables])
    begins = (sizes.cumsum(0) - sizes).to(tables[0]["offsets"].device)
    return {
        "flat": torch.cat([table["flat"] for table in tables]),
        "offsets": torch.stack([table["offsets"] for table in tables]) + begins[:, None],
    }


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
    heights = torch.tensor([[training.lr] for training in trainings], dtype=torch.double)
    return torch.tensor(shape, dtype=torch.double)[:, None, None] * heights


def has_dropout(model: HookedModel) -> bool:
    """Whether updates of a model draw which activations to drop."""
    return any(isinstance(module, torch.nn.Dropout) for module in model.modules())


def dropout_seed(seeds: Seeds, step: int) -> int:
    """The seed of dropout in an update, which makes a resumed run drop the same activations."""
    return generator(seeds.order, 0, 0, step).initial_seed()
