from collections import Counter

import torch

from interp.batches import batch_source
from interp.tasks import Task
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
