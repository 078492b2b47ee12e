import json
import math

import pytest
import torch
from torch.testing import assert_close

from interp.runs.run import Run
from interp.training.device import pick_device
from interp.training.loop import train
from tests.oracles import plain_training
from tests.planted import tiny_experiment


def training_of(**options):
    training = tiny_experiment(**options).training
    assert training is not None
    return training


def rows_of(*accuracies):
    """Metrics every 5 steps."""
    return [{"step": 5 * i, "test.accuracy": value} for i, value in enumerate(accuracies)]


def lines_of(run):
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def test_training_is_what_a_plain_loop_does(tmp_path):
    experiment = tiny_experiment(dtype="float64")
    run = train(experiment, tmp_path / "run", device="cpu")
    assert_close(dict(run.parameters(40)), plain_training(experiment, 40), rtol=1e-8, atol=1e-10)


def test_metrics_have_a_row_an_evaluation(run):
    assert [row["step"] for row in lines_of(run)] == list(range(0, 41, 5))


def test_metrics_have_loss_and_accuracy_of_both_splits(run):
    columns = {"step", "train.loss", "train.accuracy", "test.loss", "test.accuracy"}
    assert all(set(row) == columns for row in lines_of(run))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("step", [0, 10, 20, 30, 40])
def test_a_snapshot_gives_the_loss_and_accuracy_of_its_row(run, step, split):
    found = run.experiment.task.score(run.snapshot(step, split))
    row = next(row for row in lines_of(run) if row["step"] == step)
    assert found == {name: row[f"{split}.{name}"] for name in found}


def test_training_lowers_the_training_loss(run):
    first, *_, last = lines_of(run)
    assert last["train.loss"] < 0.8 * first["train.loss"]


def test_checkpoints_are_kept_on_their_grid(run):
    assert run.steps == (0, 10, 20, 30, 40)


def test_the_last_step_is_kept_off_the_grid(tmp_path):
    run = train(tiny_experiment(steps=13), tmp_path / "run", device="cpu")
    assert run.steps == (0, 10, 13)


def test_frozen_parameters_stay_as_initialised(run):
    biases = run.weights("blocks.0.mlp.b_in")
    assert torch.equal(biases[-1], biases[0])


def test_other_parameters_move(run):
    embeddings = run.weights("W_E")
    assert not torch.equal(embeddings[-1], embeddings[0])


def test_the_callback_sees_every_row(tmp_path):
    seen = []
    run = train(tiny_experiment(), tmp_path, on_evaluate=lambda row, end: seen.append(row))
    assert seen == lines_of(run)


def test_the_callback_is_told_the_end_once_the_stop_rule_holds(tmp_path):
    ends = []
    stop = {"at_least": 0.0, "evaluations": 2, "extra_steps": 7}
    train(tiny_experiment(stop=stop), tmp_path, on_evaluate=lambda row, end: ends.append(end))
    assert ends == [40, 7, 7]


def test_a_run_that_stops_early_keeps_its_last_step(tmp_path):
    stop = {"at_least": 0.0, "evaluations": 2, "extra_steps": 7}
    assert train(tiny_experiment(stop=stop), tmp_path).steps == (0, 7)


def test_a_checkpoint_is_kept_before_its_metrics_are_told(tmp_path):
    kept = []
    options = {"steps": 10, "evaluate": {"every": 5}, "checkpoints": {"every": 5}}

    def tell(row, end):
        kept.append((row["step"], Run(tmp_path).steps[-1:]))

    train(tiny_experiment(**options), tmp_path, on_evaluate=tell, device="cpu")
    assert kept == [(0, (0,)), (5, (5,)), (10, (10,))]


def test_the_scale_of_the_loss_does_not_reach_the_metrics(run, tmp_path):
    scaled = train(tiny_experiment(loss_scale=0.01, steps=1), tmp_path, device="cpu")
    assert lines_of(scaled)[0] == lines_of(run)[0]


def test_the_loss_and_adams_epsilon_scale_together(tmp_path):
    plain = tiny_experiment(dtype="float64", steps=10, eps=1e-2)
    half = tiny_experiment(dtype="float64", steps=10, eps=5e-3, loss_scale=0.5)
    runs = [train(plain, tmp_path / "plain"), train(half, tmp_path / "half")]
    assert_close(runs[1].weights("W_E"), runs[0].weights("W_E"), rtol=1e-10, atol=1e-12)


def test_adam_is_not_adamw(run, tmp_path):
    adam = train(tiny_experiment(optimizer="adam"), tmp_path, device="cpu")
    assert not torch.equal(adam.weights("W_E")[-1], run.weights("W_E")[-1])


def test_the_model_seed_changes_the_initial_weights_alone(run, tmp_path):
    experiment = tiny_experiment()
    seeds = experiment.seeds.model_copy(update={"model": 1})
    other = train(experiment.model_copy(update={"seeds": seeds}), tmp_path, device="cpu")
    same_data = torch.equal(
        other.snapshot(0).examples.model_inputs, run.snapshot(0).examples.model_inputs
    )
    assert (same_data, torch.equal(other.weights("W_E")[0], run.weights("W_E")[0])) == (True, False)


def test_the_environment_is_recorded(run):
    facts = json.loads((run.path / "environment.json").read_text())
    assert set(facts) == {"interp", "torch", "transformer-lens", "python", "device", "threads"}
    assert (facts["device"], facts["threads"]) == ("cpu", torch.get_num_threads())


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (1, 0.25), (4, 1.0), (39, 1.0)])
def test_the_learning_rate_warms_up(step, share):
    assert training_of(lr=1e-2, warmup_steps=4).learning_rate(step) == share * 1e-2


def test_without_warm_up_the_first_update_runs_at_the_full_rate():
    assert training_of(lr=1e-2, warmup_steps=0).learning_rate(0) == 1e-2


@pytest.mark.parametrize(
    ("accuracies", "extra_steps", "end"),
    [
        ((), 10, 40),  # nothing seen yet
        ((0.5, 1.0, 1.0), 10, 40),  # not held long enough
        ((0.5, 1.0, 1.0, 1.0), 10, 15),  # held from step 5
        ((0.5, 1.0, 1.0, 1.0), 20, 25),
        ((0.5, 1.0, 1.0, 1.0), 0, 15),  # never before the evaluation that confirms it
        ((0.5, 1.0, 1.0, 1.0), 100, 40),  # never beyond the last step
        ((1.0, 0.5, 1.0, 1.0, 1.0), 5, 20),  # a spike does not count
        ((1.0, 1.0, 1.0, 0.0), 5, 10),  # what comes after the crossing does not matter
        ((0.99, 0.99, 0.99), 10, 10),  # at the level is enough
    ],
)
def test_training_ends_after_a_sustained_crossing(accuracies, extra_steps, end):
    stop = {"at_least": 0.99, "evaluations": 3, "extra_steps": extra_steps}
    assert training_of(stop=stop).end_after(rows_of(*accuracies)) == end


def test_without_a_stop_rule_training_runs_to_the_last_step():
    assert training_of().end_after(rows_of(1.0, 1.0, 1.0, 1.0)) == 40


def test_what_is_not_a_number_holds_no_level():
    training = training_of(stop={"metric": "test.loss", "at_most": 0.5, "evaluations": 1})
    rows = [{"step": 0.0, "test.loss": math.nan}, {"step": 5.0}, {"step": 10.0, "test.loss": 0.4}]
    assert [training.end_after(rows[:count]) for count in (1, 2, 3)] == [40, 40, 10]


def test_a_loss_that_is_not_a_number_stops_training(tmp_path):
    with pytest.raises(
        ValueError, match=r"training\.lr: the metrics are not numbers at step 5; lower"
    ):
        train(tiny_experiment(lr=1e30), tmp_path, device="cpu")


def test_a_frozen_pattern_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training\.frozen: 'b_\*' matches no parameter; there"):
        train(tiny_experiment(frozen=("b_*",)), tmp_path, device="cpu")


def test_an_experiment_without_training_is_refused(tmp_path, experiment):
    imported = experiment.model_copy(update={"training": None})
    with pytest.raises(ValueError, match=r"experiment tiny has no \[training\] table"):
        train(imported, tmp_path)


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device cuda: torch sees no GPU here; use --device cpu"):
        pick_device("cuda")


def test_auto_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
