import pytest
import torch
from torch.testing import assert_close

from interp.config.experiment import Experiment, load_experiment
from interp.config.strategies import mixed, warm_up
from interp.config.training import Phase, Seeds, Steps
from interp.sweeps.sweep import load_sweep
from interp.training.batches import mixture
from interp.training.loop import LoneStepper, train
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.planted import tiny_experiment

CPU = torch.device("cpu")
ADD = {"name": "modular_arithmetic", "p": 7, "train_fraction": 0.5}
SUBTRACT = ADD | {"operation": "subtract"}
HALVES = {"steps": 20, "tasks": [ADD], "reset_optimizer": True}
IMAGES = """
[task]
name = "factor_labels"
factors = { hue = 4, shape = 4 }
d = 8
pairs = 6
held_out = 0.0
test_prompts = 20

[model]
kind = "read_in"
n_layers = 1
d_model = 8
n_heads = 2

[training]
steps = 6
batch_size = 4
evaluate = { every = 2 }
"""


@pytest.fixture
def images(tmp_path) -> Experiment:
    path = tmp_path / "images.toml"
    path.write_text(IMAGES)
    return load_experiment(path)


def phase_of(**fields):
    return Phase.model_validate({"steps": 9} | fields)


def operations(batch):
    """How many rows of a batch are right as a sum, and how many as a difference."""
    (a, b), answer = batch["tokens"][:, :2].T, batch["targets"][:, 0]
    return [int(((a + sign * b) % 7 == answer).sum()) for sign in (1, -1)]


def updated(experiment, steps):
    """Parameters after so many updates of a model alone."""
    lone = LoneStepper(experiment, fresh(experiment), CPU)
    lone.advance(steps)
    return {name: each.detach() for name, each in lone.model.named_parameters()}


def test_rows_of_a_mixture_come_by_their_shares():
    draw = mixture(phase_of(tasks=[ADD, SUBTRACT], weights=[3, 1]), data_seed=0)
    batch = draw(4000, (0, 0))
    both = int((2 * batch["tokens"][:, 1] % 7 == 0).sum())  # a + 0 = a - 0
    sums, differences = operations(batch)
    assert sums + differences == 4000 + both
    assert (sums - both) / (4000 - both) == pytest.approx(0.75, abs=0.03)


def test_a_mixture_depends_on_its_key_alone():
    draws = [mixture(phase_of(tasks=[ADD, SUBTRACT]), data_seed=0) for _ in range(2)]
    first, again, other = draws[0](50, (1, 2)), draws[1](50, (1, 2)), draws[0](50, (1, 3))
    assert torch.equal(first["tokens"], again["tokens"])
    assert not torch.equal(first["tokens"], other["tokens"])


def test_rows_of_a_mixture_lie_in_no_order():
    batch = mixture(phase_of(tasks=[ADD, SUBTRACT]), data_seed=0)(400, (0,))
    parts = [operations({name: each[half] for name, each in batch.items()})[0]
             for half in (slice(200), slice(200, None))]  # fmt: skip
    assert abs(parts[0] - parts[1]) < 60


def test_a_fixed_training_set_is_drawn_from():
    task = tiny_experiment().task
    draw = mixture(phase_of(tasks=[task, task]), data_seed=3)
    known = task.examples("train", None, 3).model_inputs.tolist()
    assert {tuple(row) for row in draw(900, (0,))["tokens"].tolist()} == set(map(tuple, known))


def test_examples_of_several_shapes_are_refused():
    few = {"name": "function_classes", "d": 2, "pairs": 5, "active_pairs": 3}
    with pytest.raises(ValueError, match=r"have one shape.*a stretch of its own"):
        mixture(phase_of(tasks=[few, few | {"active_pairs": 4}]), data_seed=0)(8, (0,))


def test_a_table_without_a_name_changes_the_evaluated_task(images):
    easy, hard = mixed(images, 0.25, maps=1).require_training().schedule[0].tasks
    assert (easy, hard) == (images.task.model_copy(update={"maps": 1}), images.task)


def test_a_schedule_is_written_whole(images, tmp_path):
    path = tmp_path / "images.toml"
    path.write_text(warm_up(images, 5, maps=1, reset_optimizer=True).to_toml())
    again = load_experiment(path).require_training().schedule
    assert [(each.steps, each.reset_optimizer) for each in again] == [(5, False), (6, True)]
    assert [each.tasks[0].model_dump()["maps"] for each in again] == [1, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: warm_up(e, 5, mapz=1), r"^training\.schedule\.0\.tasks\.0\.mapz: unknown key"),
        (lambda e: warm_up(e, 5, pairs=7), "must share the evaluated task's sizes"),
        (lambda e: mixed(e, 1.0, maps=1), "share = 1.0: take one above 0 and below 1"),
        (lambda e: mixed(warm_up(e, 5, maps=1)), "training.schedule: images has one already"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused_in_one_line(change, message, images):
    with pytest.raises(ValueError, match=message) as raised:
        change(images)
    assert "\n" not in str(raised.value)


def test_a_sweep_takes_the_schedule_along_where_it_does_not_differ(images, tmp_path):
    (tmp_path / "base.toml").write_text(mixed(images, maps=1).to_toml())
    path = tmp_path / "sweep.toml"
    path.write_text('base = "base.toml"\n[vary]\n"task.d" = [6]\n"task.maps" = [3]\n')
    (member,) = load_sweep(path).experiments().values()
    (phase,) = member.require_training().schedule
    fields = [(each["d"], each["maps"]) for each in (t.model_dump() for t in phase.tasks)]
    assert fields == [(6, 1), (6, 3)]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_an_optimizer_that_begins_anew_is_one_of_a_new_run(optimizer):
    options = {"optimizer": optimizer, "steps": 40, "frozen": (), "dtype": "float64"}
    options |= {"momentum": 0.9} if optimizer == "sgd" else {}
    experiment = tiny_experiment(schedule=[HALVES | {"reset_optimizer": False}, HALVES], **options)
    lone = LoneStepper(experiment, fresh(experiment), CPU)
    lone.advance(20)
    lone.optimizer.reset()  # by hand
    lone.advance(40)
    expected = {name: each.detach() for name, each in lone.model.named_parameters()}
    assert_close(updated(experiment, 40), expected, rtol=0, atol=0)
    kept = tiny_experiment(schedule=[HALVES | {"reset_optimizer": False}] * 2, **options)
    moved = (updated(kept, 40)["embed.W_E"] - expected["embed.W_E"]).abs().max()
    assert moved > 1e-6


def test_a_run_goes_on_after_its_optimizer_began_anew(tmp_path):
    phases = [HALVES | {"reset_optimizer": False}, HALVES]
    experiment = tiny_experiment(schedule=phases, steps=40, checkpoints={"every": 10})
    whole = train(experiment, tmp_path / "whole", device="cpu")

    def stop(row, end):
        if row["step"] == 35:
            raise KeyboardInterrupt

    often = experiment.require_training().model_copy(update={"evaluate": Steps(every=5)})
    cut = experiment.model_copy(update={"training": often})
    with pytest.raises(KeyboardInterrupt):
        train(cut, tmp_path / "cut", device="cpu", on_evaluate=stop)
    resumed = train(cut, tmp_path / "cut", device="cpu")
    assert_close(dict(resumed.parameters(40)), dict(whole.parameters(40)), rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("lrs", [(0.01, 0.01), (0.01, 0.02)], ids=["one rate", "two rates"])
def test_a_stack_resets_and_mixes_as_its_replicas_would_alone(optimizer, lrs):
    phases = [
        {"steps": 10, "tasks": [ADD, SUBTRACT], "weights": [1, 2]},
        {"steps": 10, "tasks": [ADD], "reset_optimizer": True},
    ]
    options = {"optimizer": optimizer, "dtype": "float64", "batch_size": 8}
    options |= {"momentum": 0.9} if optimizer == "sgd" else {}
    experiments = [
        tiny_experiment(schedule=phases, steps=20, lr=lr, chunk=3, **options).model_copy(
            update={"seeds": Seeds(model=i, data=i, order=i)}
        )
        for i, lr in enumerate(lrs)
    ]
    parts = assembled(experiments, [fresh(each) for each in experiments], CPU)
    StackStepper(parts).advance(20)
    for index, experiment in enumerate(experiments):
        mine = {name: each[index].detach() for name, each in parts.parameters.items()}
        assert_close(mine, updated(experiment, 20), rtol=0, atol=1e-9)


def test_a_schedule_that_is_no_list_is_refused_in_one_line(tmp_path):
    path = tmp_path / "images.toml"
    path.write_text(f"{IMAGES}schedule = 3\n")
    with pytest.raises(ValueError, match=r"training\.schedule: [^\n]*\Z"):
        load_experiment(path)


def test_a_rare_task_may_have_no_row():
    lines = {"name": "function_classes", "d": 2, "pairs": 3}
    draw = mixture(phase_of(tasks=[lines, lines], weights=[1, 1e-12]), data_seed=0)
    assert len(draw(20, (0,))["targets"]) == 20
