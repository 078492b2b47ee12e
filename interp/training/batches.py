"""What each update reads and draws: a pure function of the experiment and the step.

Training is cut into blocks of successive steps, each of which reads one table of examples. A fixed
training set is one table, read in one permutation for each epoch, from (order seed, phase, epoch).
Endless data are drawn as tables of some batches, table c from (data seed, phase, c). So a resumed
run, a model trained alone and a replica in a stack see the same batches, whether or not a block is
drawn ahead of the step that needs it.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from hooks.models import HookedModel
from interp.config.experiment import Experiment
from interp.config.training import Phase, Seeds, Training
from interp.randomness import generator
from interp.tasks import Batch, Task
from interp.tasks.base import Reader, as_it_is
from interp.tasks.language.base import padded
from interp.training.device import sent, sent_batch

BatchSource = Callable[[int], Batch]  # from a step to its batch
Tables = dict[tuple[int, int], Batch]  # fixed training sets by phase and data seed
Key = tuple[int, ...]  # seeds, phase and position of a draw
Draw = Callable[[int, Key], Batch]  # a number of examples, which the key alone decides
MIN_ORDERED_ROWS = 2**14  # a block of short epochs holds as many as make about this many rows


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


def batch_source(experiment: Experiment, device: torch.device) -> BatchSource:
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
    starts = [sum(phase.steps for phase in schedule[:index]) for index in range(len(schedule))]
    sources = [
        _phase_source(phase, training, experiment.seeds, (index, start), (device, tables))
        for index, (phase, start) in enumerate(zip(schedule, starts, strict=True))
    ]
    # Rows of a mixture are batches already, since its tasks may have several readers.
    readers = [
        phase.tasks[0].reader(device) if len(phase.tasks) == 1 else as_it_is for phase in schedule
    ]
    memory: list[BatchBlock] = []
    coming: dict[int, Future[BatchBlock]] = {}

    def drawn(step: int) -> BatchBlock:
        index = max(i for i, start in enumerate(starts) if start <= step)
        block, end = sources[index](step), starts[index] + schedule[index].steps
        return replace(block, steps=min(block.steps, end - block.start), read=readers[index])

    def block_at(step: int) -> BatchBlock:
        if not memory or not memory[0].start <= step < memory[0].end:
            future = coming.pop(step, None)
            block = drawn(step) if future is None else future.result()
            table = sent_batch(block.table, device)
            order = None if block.order is None else sent(block.order, device)
            memory[:] = [replace(block, table=table, order=order)]
            coming.clear()
            if ahead is not None and block.end < training.steps:
                coming[block.end] = ahead.submit(drawn, block.end)
        return memory[0]

    return block_at


def _phase_source(
    phase: Phase,
    training: Training,
    seeds: Seeds,
    place: tuple[int, int],
    kept: tuple[torch.device, Tables],
) -> BlockSource:
    """The blocks of one phase.

    Args:
        phase: The phase.
        training: The training it is part of.
        seeds: The seeds of data and order.
        place: The number of the phase, and the step at which it begins.
        kept: The device that holds fixed training sets, and those drawn already.
    """
    (index, start), (device, tables), task = place, kept, phase.tasks[0]
    count = task.train_count
    if len(phase.tasks) > 1 or count is None:
        draw = mixture(phase, seeds.data) if len(phase.tasks) > 1 else _endless(task)
        size = training.require_batch_size("examples are drawn by batches")
        return _chunks(draw, (size, training.chunk), start, (seeds.data, index))
    if (index, seeds.data) not in tables:
        draw_set = task.flat if task.widths else lambda generator: task.data(None, generator)
        tables[index, seeds.data] = sent_batch(draw_set(generator(seeds.data, 0)), device)
    table, size = tables[index, seeds.data], min(training.batch_size or count, count)
    if task.widths:
        return _sentences(table, task.widths, size, start, (seeds.order, index))
    if size == count:
        whole = BatchBlock(start, training.steps, table, None, count)
        return lambda step: whole
    return _epochs(table, size, start, (seeds.order, index))


def _epochs(table: Batch, size: int, start: int, key: tuple[int, int]) -> BlockSource:
    """Batches without replacement; rows left over at the end of an epoch are not used.

    A block is some whole epochs, so that short ones are not laid out one at a time.
    """
    count = len(table["targets"])
    steps = count // size  # of an epoch
    epochs = max(1, MIN_ORDERED_ROWS // (steps * size))

    def block_at(step: int) -> BatchBlock:
        first = (step - start) // (steps * epochs) * epochs
        orders = [
            torch.randperm(count, generator=generator(*key, epoch))[: steps * size]
            for epoch in range(first, first + epochs)
        ]
        return BatchBlock(start + first * steps, epochs * steps, table, torch.cat(orders), size)

    return block_at


def _sentences(
    table: Batch, widths: tuple[int, ...], size: int, start: int, key: tuple[int, int]
) -> BlockSource:
    """Batches of sentences without replacement, each padded to the least width that holds it."""
    lengths = table["offsets"].diff().cpu()
    epochs_at = _epochs({"targets": lengths}, size, start, key)
    known = torch.tensor(widths)
    if int(lengths.max()) > widths[-1]:
        raise ValueError(f"a sentence of {int(lengths.max())} tokens exceeds {widths[-1]}, n_ctx")

    def block_at(step: int) -> BatchBlock:
        epochs = epochs_at(step)
        longest = lengths[epochs.order].unflatten(0, (-1, size)).amax(1)
        wide = known[torch.searchsorted(known, longest)].tolist()
        return replace(epochs, table=table, widths=tuple(wide))

    return block_at


def _chunks(draw: Draw, shape: tuple[int, int], start: int, key: tuple[int, int]) -> BlockSource:
    """Batches of data drawn without end: blocks of `shape`, batch size and number of batches."""
    size, chunk = shape

    def block_at(step: int) -> BatchBlock:
        which = (step - start) // chunk
        table = draw(size * chunk, (*key, which))
        return BatchBlock(start + which * chunk, chunk, table, None, size)

    return block_at


def _endless(task: Task) -> Draw:
    """Draws rows of one task, to be read by its reader."""
    return lambda count, key: task.data(count, generator(*key))


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
            draws[which](task_count, (*key, which + 1))
            for which, task_count in enumerate(counts)
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
    for other in shapes[1:]:
        if other != shapes[0]:
            raise ValueError(
                f"training.schedule: examples of a mixture have one shape, these have {shapes[0]} "
                f"and {other}: give each task a stretch of its own"
            )


def has_dropout(model: HookedModel) -> bool:
    """Whether updates of a model draw which activations to drop."""
    return any(isinstance(module, torch.nn.Dropout) for module in model.modules())


def dropout_seed(seeds: Seeds, step: int) -> int:
    """The seed of dropout in an update, which makes a resumed run drop the same activations."""
    return generator(seeds.order, 0, 0, step).initial_seed()
