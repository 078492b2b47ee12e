import pytest
import torch

import interp
from analyses import NeuronCircle
from hooks.models.constructed import leads
from interp.config.experiment import Experiment, load_experiment
from interp.pages import write_report
from tests.planted import tiny_experiment


@pytest.fixture
def run(tmp_path):
    return interp.construct(load_experiment("constructed-circle"), tmp_path / "circle")


def test_a_constructed_run_is_a_run_of_one_checkpoint(run):
    assert run.steps == (0,)
    assert run.parameters(0)["embed.W_E"].dtype == torch.float64
    assert interp.load(run.path).experiment == load_experiment("constructed-circle")


def test_a_constructed_run_answers_every_pair(run):
    snapshot = run.snapshot()
    assert bool((leads(snapshot.logits(), snapshot.examples.targets) >= 1e-9).all())


def test_a_constructed_run_is_analysed_and_reported(run, tmp_path):
    interp.analyze(run, ["NeuronCircle"])
    page = write_report([run], tmp_path / "report").parent / "runs" / "circle.html"
    text = page.read_text()
    assert "Try it: 5 neurons add modulo 67" in text
    assert "interp construct constructed-circle --out runs/circle" in text
    assert "own.js" in text
    assert "circuitsvis.js" not in text


def test_writing_it_again_changes_nothing(run):
    before = run.checkpoint(0).stat().st_mtime_ns
    again = interp.construct(load_experiment("constructed-circle"), run.path)
    assert again.checkpoint(0).stat().st_mtime_ns == before


def test_the_seed_draws_the_phases_of_an_analytic_network(tmp_path):
    preset = load_experiment("constructed-analytic")
    runs = [interp.construct(preset.with_seed(seed), tmp_path / str(seed)) for seed in (0, 1)]
    first, second = (run.parameters(0)["blocks.0.mlp.W_in"] for run in runs)
    assert not torch.equal(first, second)
    found = NeuronCircle.measure(runs[0].snapshot()).summary()
    assert found["order_parameter"] == pytest.approx(1)


def test_a_network_to_be_trained_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model\.kind is token, .* use `interp train`"):
        interp.construct(tiny_experiment(), tmp_path / "run")


def test_a_constructed_network_with_training_is_refused(tmp_path):
    table = load_experiment("constructed-circle").model_dump(mode="json", exclude_none=True)
    both = Experiment.model_validate(table | {"training": {"steps": 5}})
    with pytest.raises(ValueError, match=r"is not trained; leave out \[training\]"):
        interp.construct(both, tmp_path / "run")


def test_the_folder_of_another_network_is_refused(run):
    with pytest.raises(ValueError, match="another experiment"):
        interp.construct(load_experiment("constructed-analytic"), run.path)
