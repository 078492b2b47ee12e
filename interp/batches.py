"""Which batch each update sees: a pure function of the experiment and the step.

A fixed training set is staged on the device once and indexed by a permutation an epoch, from
(order seed, phase, epoch). Endless data are drawn a chunk of batches at a time, chunk c from
(data seed, phase, c). So a resumed run, a run alone and a member of a stack see the same batches.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from interp.experiment import Experiment, Phase
from interp.randomness import generator
from interp.tasks import Batch, Task

BatchSource = Callable[[int], Batch]


def batch_source(experiment: Experiment, device: torch.device) -> BatchSource:
    """A function from a step to its batch, on the device."""
    training = experiment.training
    assert training is not None  # checked by `train`
    schedule = training.schedule or (Phase(steps=training.steps, tasks=(experiment.task,)),)
    starts, sources = [], []
    for index, phase in enumerate(schedule):
        starts.append(sum(earlier.steps for earlier in schedule[:index]))
        sources.append(_task_source(experiment, phase.tasks[0], index, device))

    def batch_at(step: int) -> Batch:
        index = max(i for i, start in enumerate(starts) if start <= step)
        return sources[index](step - starts[index])

    return batch_at


def _task_source(
    experiment: Experiment, task: Task, phase: int, device: torch.device
) -> BatchSource:
    training, seeds = experiment.training, experiment.seeds
    assert training is not None
    if task.train_count is None:
        assert training.batch_size is not None  # endless data without it are refused
        key = (seeds.data, phase)
        return _chunks(task, training.batch_size, training.chunk, key, device)
    table = _to(task.data(None, generator(seeds.data, 0)), device)
    if training.batch_size is None or training.batch_size >= task.train_count:
        return lambda step: table
    return _epochs(table, task.train_count, training.batch_size, (seeds.order, phase))


def _epochs(table: Batch, count: int, size: int, key: tuple[int, int]) -> BatchSource:
    """Batches without replacement; what is left at the end of an epoch is not used."""
    an_epoch = count // size
    memory: dict[int, Tensor] = {}

    def batch_at(step: int) -> Batch:
        epoch, place = divmod(step, an_epoch)
        if epoch not in memory:
            memory.clear()
            memory[epoch] = torch.randperm(count, generator=generator(*key, epoch))
        rows = memory[epoch][place * size : (place + 1) * size]
        return {name: values[rows.to(values.device)] for name, values in table.items()}

    return batch_at


def _chunks(
    task: Task, size: int, chunk: int, key: tuple[int, int], device: torch.device
) -> BatchSource:
    memory: dict[int, Mapping[str, Tensor]] = {}

    def batch_at(step: int) -> Batch:
        which, place = divmod(step, chunk)
        if which not in memory:
            memory.clear()
            memory[which] = _to(task.data(size * chunk, generator(*key, which)), device)
        return {
            name: values[place * size : (place + 1) * size]
            for name, values in memory[which].items()
        }

    return batch_at


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: values.to(device) for name, values in batch.items()}
