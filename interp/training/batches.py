"""Which batch each update sees: a pure function of the experiment and the step.

Training is cut into stretches of steps, each of which reads one table of examples. A fixed
training set is one table, read in a permutation an epoch, from (order seed, phase, epoch). Endless
data are drawn a table of some batches at a time, table c from (data seed, phase, c). So a resumed
run, a run alone and a member of a stack see the same batches, whether or not a stretch is drawn
ahead of the step that needs it.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from interp.config.experiment import Experiment
from interp.config.training import Phase
from interp.randomness import generator
from interp.tasks import Batch
from interp.tasks.base import Reader, as_it_is
from interp.training.device import sent
from interp.training.mixtures import Draw, mixture, single

BatchSource = Callable[[int], Batch]
ORDERED_ROWS = 2**14  # a stretch of short epochs has so many of them as this many rows make


@dataclass(frozen=True, eq=False)
class Stretch:
    """The batches of successive steps.

    Attributes:
        start: The first of the steps.
        steps: How many there are.
        table: The examples, by name `[row, ...]`.
        order: Rows in the order they are read; None stands for the table's own.
        size: Rows a batch.
        widths: Of sentences without padding (`Task.flat`), what each batch is padded to.
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

    def width(self, step: int) -> int | None:
        """What the batch of a step is padded to; None where there is no padding to do."""
        return self.widths[step - self.start] if self.widths else None

    def batch(self, step: int) -> Batch:
        """The batch of the update that leads from `step` to the next."""
        return self.read(self._rows(step))

    def _rows(self, step: int) -> Batch:
        if self.is_whole:
            return self.table
        first = (step - self.start) * self.size
        rows = slice(first, first + self.size)
        width = self.width(step)
        if width is not None and self.order is not None:
            return padded(self.table["flat"], self.table["offsets"], self.order[rows], width)
        if self.order is None:
            return {name: values[rows] for name, values in self.table.items()}
        return {name: values[self.order[rows]] for name, values in self.table.items()}


StretchSource = Callable[[int], Stretch]
Tables = dict[tuple[int, int], Batch]


def padded(
    flat: Int[Tensor, " token"],
    offsets: Int[Tensor, " sentence"],
    rows: Int[Tensor, "*batch row"],
    width: int,
) -> Batch:
    """Sentences side by side, with the next token as the target at every real position.

    Args:
        flat: All sentences, one after the other.
        offsets: Where each begins; the next one's beginning is its end.
        rows: The sentences wanted.
        width: Tokens to pad to, with 0; at least the longest of them.
    """
    place = torch.arange(width, device=flat.device)
    starts = offsets[rows][..., None]
    left = offsets[rows + 1][..., None] - starts - place
    last = len(flat) - 1
    zero = flat.new_zeros(())
    return {
        "tokens": torch.where(left > 0, flat[(starts + place).clamp(max=last)], zero),
        "targets": torch.where(left > 1, flat[(starts + place + 1).clamp(max=last)], zero),
        "scored": left > 1,
    }


def batch_source(experiment: Experiment, device: torch.device) -> BatchSource:
    """A function from a step to its batch, on the device."""
    stretch_at = stretch_source(experiment, device)
    return lambda step: stretch_at(step).batch(step)


def stretch_source(
    experiment: Experiment,
    device: torch.device,
    tables: Tables | None = None,
    ahead: Executor | None = None,
) -> StretchSource:
    """A function from a step to the stretch it lies in, on the device; the last is remembered.

    Args:
        experiment: What is trained.
        device: Where the tables are kept.
        tables: Fixed training sets drawn already, by phase and data seed; added to.
        ahead: Draws each stretch, on the CPU, while the steps before it are made. An error there
            is raised at the step that needs the stretch.
    """
    phases, tables = _phases(experiment), {} if tables is None else tables
    sources = [
        _source(experiment, index, start, device, tables) for index, (start, _) in enumerate(phases)
    ]
    readers = [_reader(phase, device) for _, phase in phases]
    memory: list[Stretch] = []
    coming: dict[int, Future[Stretch]] = {}

    def drawn(step: int) -> Stretch:
        index = max(i for i, (start, _) in enumerate(phases) if start <= step)
        found, end = sources[index](step), phases[index][0] + phases[index][1].steps
        return replace(found, steps=min(found.steps, end - found.start), read=readers[index])

    def stretch_at(step: int) -> Stretch:
        if not memory or not memory[0].start <= step < memory[0].end:
            future = coming.pop(step, None)
            memory[:] = [_on(device, drawn(step) if future is None else future.result())]
            coming.clear()
            following, (start, last) = memory[0].end, phases[-1]
            if ahead is not None and following < start + last.steps:
                coming[following] = ahead.submit(drawn, following)
        return memory[0]

    return stretch_at


def _phases(experiment: Experiment) -> list[tuple[int, Phase]]:
    """Each phase of training with the step it begins at."""
    training = experiment.training
    assert training is not None  # checked by `train`
    schedule = training.schedule or (Phase(steps=training.steps, tasks=(experiment.task,)),)
    return [
        (sum(earlier.steps for earlier in schedule[:index]), phase)
        for index, phase in enumerate(schedule)
    ]


def _reader(phase: Phase, device: torch.device) -> Reader:
    """That of its task; a mixture's rows are batches already, being of several."""
    return phase.tasks[0].reader(device) if len(phase.tasks) == 1 else as_it_is


def _source(
    experiment: Experiment, index: int, start: int, device: torch.device, tables: Tables
) -> StretchSource:
    """The stretches of one phase, which begins at `start`."""
    training, seeds = experiment.training, experiment.seeds
    assert training is not None
    phase = _phases(experiment)[index][1]
    task, *others = phase.tasks
    if others:
        assert training.batch_size is not None  # refused
        draw = mixture(phase, seeds.data)
        key = (seeds.data, index)
        return _chunks(draw, (training.batch_size, training.chunk), start, key)
    if task.train_count is None:
        assert training.batch_size is not None  # endless data without it are refused
        key = (seeds.data, index)
        return _chunks(single(task), (training.batch_size, training.chunk), start, key)
    if (index, seeds.data) not in tables:
        draw = task.flat if task.widths else lambda generator: task.data(None, generator)
        tables[index, seeds.data] = _to(draw(generator(seeds.data, 0)), device)
    table = tables[index, seeds.data]
    if task.widths:
        size = min(training.batch_size or task.train_count, task.train_count)
        return _sentences(table, task.widths, size, start, (seeds.order, index))
    if training.batch_size is None or training.batch_size >= task.train_count:
        whole = Stretch(start, training.steps, table, None, task.train_count)
        return lambda step: whole
    return _epochs(table, training.batch_size, start, (seeds.order, index))


def _epochs(table: Batch, size: int, start: int, key: tuple[int, int]) -> StretchSource:
    """Batches without replacement; what is left at the end of an epoch is not used.

    A stretch is some whole epochs, so that short ones are not laid out one at a time.
    """
    count = len(table["targets"])
    an_epoch = count // size
    epochs = max(1, ORDERED_ROWS // (an_epoch * size))

    def stretch_at(step: int) -> Stretch:
        first = (step - start) // (an_epoch * epochs) * epochs
        orders = [
            torch.randperm(count, generator=generator(*key, epoch))[: an_epoch * size]
            for epoch in range(first, first + epochs)
        ]
        begins = start + first * an_epoch
        return Stretch(begins, epochs * an_epoch, table, torch.cat(orders), size)

    return stretch_at


def _sentences(
    table: Batch, widths: tuple[int, ...], size: int, start: int, key: tuple[int, int]
) -> StretchSource:
    """Batches of sentences without replacement, each padded to the least width that holds it."""
    lengths = table["offsets"].diff().cpu()
    epochs_at = _epochs({"targets": lengths}, size, start, key)
    known = torch.tensor(widths)
    if int(lengths.max()) > widths[-1]:
        raise ValueError(f"a sentence of {int(lengths.max())} tokens exceeds {widths[-1]}, n_ctx")

    def stretch_at(step: int) -> Stretch:
        epochs = epochs_at(step)
        assert epochs.order is not None
        longest = lengths[epochs.order].unflatten(0, (-1, size)).amax(1)
        wide = known[torch.searchsorted(known, longest)].tolist()
        return replace(epochs, table=table, widths=tuple(wide))

    return stretch_at


def _chunks(draw: Draw, shape: tuple[int, int], start: int, key: tuple[int, int]) -> StretchSource:
    """Batches of data drawn without end, so many at a time."""
    size, chunk = shape

    def stretch_at(step: int) -> Stretch:
        which = (step - start) // chunk
        table = draw(size * chunk, (*key, which))
        return Stretch(start + which * chunk, chunk, table, None, size)

    return stretch_at


def _on(device: torch.device, stretch: Stretch) -> Stretch:
    """A stretch on a device; a table that is there stays the same object."""
    order = None if stretch.order is None else sent(stretch.order, device)
    return replace(stretch, table=_to(stretch.table, device), order=order)


def _to(batch: Batch, device: torch.device) -> Batch:
    if all(values.device.type == device.type for values in batch.values()):
        return batch
    return {name: sent(values, device) for name, values in batch.items()}
