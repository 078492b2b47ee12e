"""Examples drawn without end: of one task, or of a mixture of several by their shares."""

from collections.abc import Callable

import torch

from interp.config.training import Phase
from interp.randomness import generator
from interp.tasks import Batch, Task

Key = tuple[int, ...]
Draw = Callable[[int, Key], Batch]  # so many examples, which the key alone decides


def single(task: Task) -> Draw:
    """Draws of one task whose data are endless."""
    return lambda count, key: task.data(count, generator(*key))


def mixture(phase: Phase, data_seed: int) -> Draw:
    """Draws whose rows are each of a task that is drawn by its share.

    Args:
        phase: Its tasks and their weights.
        data_seed: Of fixed training sets, which are drawn from with replacement.

    Returns:
        A function that raises ValueError where the tasks' examples are of different shapes.
    """
    weights = torch.tensor(phase.weights or (1.0,) * len(phase.tasks))
    draws = [_drawer(task, data_seed) for task in phase.tasks]

    def draw(count: int, key: Key) -> Batch:
        chosen = torch.multinomial(weights, count, replacement=True, generator=generator(*key, 0))
        counts = chosen.bincount(minlength=len(draws)).tolist()
        parts = [
            draw(own, (*key, which + 1))
            for which, (draw, own) in enumerate(zip(draws, counts, strict=True))
            if own  # a rare task may have no row
        ]
        _check_shapes(parts)
        place = chosen.argsort(stable=True).argsort()  # of each row among the parts, end to end
        return {name: torch.cat([part[name] for part in parts])[place] for name in parts[0]}

    return draw


def _drawer(task: Task, data_seed: int) -> Draw:
    """Batches of one task, drawn with replacement where its training set is fixed."""
    read = task.reader(torch.device("cpu"))
    if task.train_count is None:
        return lambda count, key: read(task.data(count, generator(*key)))
    table = task.data(None, generator(data_seed, 0))

    def draw(count: int, key: Key) -> Batch:
        rows = torch.randint(len(table["targets"]), (count,), generator=generator(*key))
        return read({name: values[rows] for name, values in table.items()})

    return draw


def _check_shapes(parts: list[Batch]) -> None:
    shapes = [{name: tuple(each.shape[1:]) for name, each in part.items()} for part in parts]
    for other in shapes[1:]:
        if other != shapes[0]:
            raise ValueError(
                f"training.schedule: examples of a mixture have one shape, these have {shapes[0]} "
                f"and {other}: give each task a stretch of its own"
            )
