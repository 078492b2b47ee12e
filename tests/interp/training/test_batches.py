import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from interp.tasks import Task
from interp.training.batches import batch_source, block_source
from tests.planted import tiny_experiment

CPU = torch.device("cpu")  # the tiny experiment trains on 24 pairs


class Endless(Task):
    """Numbers below 7, drawn anew without end; nothing to learn."""

    name: str = "endless"

    @property
    def train_count(self) -> None:
        return None

    def data(self, count, generator):
        pairs = torch.randint(7, (count or 0, 2), generator=generator)
        return {"tokens": pairs, "targets": pairs[:, :1], "scored": pairs[:, :1] >= 0}


def endless():
    experiment = tiny_experiment(batch_size=4, chunk=3)
    return experiment.model_copy(update={"task": Endless()})


def answers(batch):
    return batch["targets"][:, 0]


def rows(batch):
    return [tuple(row) for row in batch["tokens"].tolist()]


def test_without_a_batch_size_every_batch_is_the_whole_training_set():
    source, task = batch_source(tiny_experiment(), CPU), tiny_experiment().task
    assert set(rows(source(17))) == set(
        map(tuple, task.examples("train", None, 0).model_inputs.tolist())
    )


def test_a_batch_size_over_the_training_set_gives_the_whole_of_it():
    assert len(rows(batch_source(tiny_experiment(batch_size=100), CPU)(0))) == 24


def test_batches_have_the_size_asked_for():
    assert len(rows(batch_source(tiny_experiment(batch_size=10), CPU)(0))) == 10


def test_an_epoch_sees_every_example_once():
    source = batch_source(tiny_experiment(batch_size=8), CPU)
    counts = Counter(row for step in range(3, 6) for row in rows(source(step)))
    assert (len(counts), max(counts.values())) == (24, 1)


def test_epochs_differ_in_order():
    source = batch_source(tiny_experiment(batch_size=8), CPU)
    assert rows(source(0)) != rows(source(3))


def test_a_batch_depends_on_its_step_alone():
    source = batch_source(tiny_experiment(batch_size=8), CPU)
    forwards = [rows(source(step)) for step in range(8)]
    assert [rows(source(step)) for step in reversed(range(8))] == forwards[::-1]


def test_the_order_seed_changes_the_order_alone():
    experiment = tiny_experiment(batch_size=8)
    seeds = experiment.seeds.model_copy(update={"order": 1})
    other = batch_source(experiment.model_copy(update={"seeds": seeds}), CPU)
    source = batch_source(experiment, CPU)
    first, second = ([row for step in range(3) for row in rows(s(step))] for s in (source, other))
    assert (first != second, sorted(first)) == (True, sorted(second))


def test_answers_stay_with_their_tokens():
    batch = batch_source(tiny_experiment(batch_size=8), CPU)(5)
    assert torch.equal(batch["tokens"][:, :2].sum(1) % 7, answers(batch))


def test_a_schedule_changes_the_data_at_its_steps():
    add = {"name": "modular_arithmetic", "p": 7, "operation": "add"}
    phases = [
        {"steps": 30, "tasks": [add | {"operation": "subtract"}]},
        {"steps": 10, "tasks": [add]},
    ]
    source = batch_source(tiny_experiment(schedule=phases), CPU)
    before, after = source(29), source(30)
    assert torch.equal((before["tokens"][:, 0] - before["tokens"][:, 1]) % 7, answers(before))
    assert torch.equal((after["tokens"][:, 0] + after["tokens"][:, 1]) % 7, answers(after))


def test_a_later_stretch_of_the_schedule_starts_with_a_whole_epoch():
    add = {"name": "modular_arithmetic", "p": 7, "train_fraction": 0.5}
    phases = [{"steps": 29, "tasks": [add]}, {"steps": 11, "tasks": [add]}]
    source = batch_source(tiny_experiment(schedule=phases, batch_size=8), CPU)
    counts = Counter(row for step in range(29, 32) for row in rows(source(step)))
    assert (len(counts), max(counts.values())) == (24, 1)


def test_endless_data_depend_on_the_step_alone():
    forwards, backwards = (batch_source(endless(), CPU) for _ in range(2))
    expected = [rows(forwards(step)) for step in range(8)]
    assert [rows(backwards(step)) for step in reversed(range(8))] == expected[::-1]


def test_endless_data_do_not_repeat_from_chunk_to_chunk():
    source = batch_source(endless(), CPU)
    assert rows(source(0)) != rows(source(3))


def test_endless_batches_have_the_size_asked_for():
    assert len(rows(batch_source(endless(), CPU)(4))) == 4


@pytest.mark.parametrize("size", [8, 10, 24, None])
def test_short_epochs_are_laid_out_many_at_a_time(size):
    stretch = block_source(tiny_experiment(batch_size=size, steps=1000), CPU)(0)
    assert stretch.steps == 1000


class Slow(Endless):
    """The same, drawn so slowly that whoever wants a chunk has to wait for it."""

    def data(self, count, generator):
        time.sleep(0.05)
        return super().data(count, generator)


class Broken(Endless):
    """The same, of which one chunk cannot be drawn."""

    def data(self, count, generator):
        drawn = super().data(count, generator)
        if torch.equal(drawn["tokens"], third_chunk()):
            raise ValueError("task.file: the rest of it is missing")
        return drawn


def third_chunk():
    return block_source(endless(), CPU)(6).table["tokens"]


def sources(experiment):
    """Stretches that are drawn ahead, and those that are drawn when they are needed."""
    return block_source(experiment, CPU, ahead=ThreadPoolExecutor(1)), block_source(experiment, CPU)


@pytest.mark.parametrize("task", [Endless(), Slow()], ids=["at once", "slowly"])
def test_what_is_drawn_ahead_is_what_is_drawn_when_needed(task):
    ahead, plain = sources(endless().model_copy(update={"task": task}))
    for step in [*range(13), 4, 5, 39]:  # in order, then back and forth
        assert rows(ahead(step).batch(step)) == rows(plain(step).batch(step))


def test_epochs_drawn_ahead_are_those_drawn_when_needed():
    ahead, plain = sources(tiny_experiment(batch_size=10, steps=40_000))
    for step in (0, 8191, 8192, 16384, 39_999):  # either side of a stretch of 16384 rows
        assert rows(ahead(step).batch(step)) == rows(plain(step).batch(step))


def test_a_chunk_that_cannot_be_drawn_is_told_at_the_step_that_needs_it():
    ahead, _ = sources(endless().model_copy(update={"task": Broken()}))
    assert [ahead(step).start for step in range(6)] == [0, 0, 0, 3, 3, 3]
    with pytest.raises(ValueError, match="the rest of it is missing"):
        ahead(6)


def test_nothing_is_drawn_beyond_the_last_step():
    asked = []

    class Noted(ThreadPoolExecutor):
        def submit(self, call, step):  # pyright: ignore[reportIncompatibleMethodOverride]
            asked.append(step)
            return super().submit(call, step)

    source = block_source(endless(), CPU, ahead=Noted(1))  # 40 steps, of 3 a chunk
    for step in range(40):
        source(step)
    assert asked == list(range(3, 40, 3))
