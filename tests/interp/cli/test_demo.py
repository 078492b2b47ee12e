from pathlib import Path

import pytest

from analyses import FourierCircuit, FourierSpectrum
from interp.cli import demo
from interp.runs import current_results, headlines_of
from interp.runs.run import load
from tests.planted import tiny_experiment

GROKKED = load(Path(__file__).parents[3] / "fixtures" / "modular-addition")


@pytest.fixture(scope="module")
def found():
    return [finding.text for finding in headlines_of(current_results(GROKKED)[0])]


@pytest.fixture(scope="module")
def untrained():
    """What the circuit's measure says of the first checkpoint, at the last one's frequencies."""
    last = FourierCircuit.measure(GROKKED.snapshot())
    return FourierCircuit.measure(GROKKED.snapshot(0), reference=last).summary()


@pytest.fixture
def tiny_demo(monkeypatch, tmp_path):
    """The lines and the stages of a demo of the tiny experiment."""
    monkeypatch.setattr(demo, "load_experiment", lambda name: tiny_experiment())
    stages = []
    lines = demo.run_demo(
        tmp_path / "run", tmp_path / "pages", device="cpu", on_stage=stages.append
    )
    return lines, stages


def test_the_steps_at_which_accuracy_rose_are_stated(found):
    assert "train accuracy reached 99 % at step 75, test accuracy at step 575:" in found[0]


def test_the_key_frequencies_are_stated_beside_the_untrained_count(found):
    untrained = FourierSpectrum.measure(GROKKED.snapshot(0)).key_frequencies
    assert found[1].startswith("3 frequencies carry 90 % of the embedding:")
    assert found[1].endswith(f"(untrained: {len(untrained)})")


def test_the_explained_share_is_stated_beside_the_untrained_one(found, untrained):
    last = FourierCircuit.measure(GROKKED.snapshot())
    assert f"at 3 key frequencies explains {last.key_fve:.1%} of the logits" in found[2]
    assert found[2].endswith(f"(untrained: {untrained['logit_fve_key']:.1%})")


def test_losses_without_and_with_the_waves_are_stated_beside_the_untrained_ones(found, untrained):
    last = FourierCircuit.measure(GROKKED.snapshot())
    assert f"training pairs is {last.excluded_loss[1]:.2f} nats" in found[3]
    assert f"with only them {last.restricted_loss[0]:.1e} on all pairs" in found[3]
    without, kept = untrained["excluded_loss_train"], untrained["restricted_loss_all"]
    assert found[3].endswith(f"(untrained: {without:.2f} and {kept:.2f})")


def test_the_untrained_figures_are_not_the_trained_ones(found, untrained):
    last = FourierCircuit.measure(GROKKED.snapshot()).summary()
    names = ("logit_fve_key", "excluded_loss_train", "restricted_loss_all")
    assert all(last[name] != pytest.approx(untrained[name], rel=0.1) for name in names)


def test_the_demo_leaves_a_finished_and_analysed_run(tiny_demo, tmp_path):
    run = load(tmp_path / "run")
    assert run.steps == (0, 10, 20, 30, 40)
    assert list((run.path / "results" / "FourierCircuit").glob("*/40.npz"))


def test_the_demo_leaves_a_report(tiny_demo, tmp_path):
    assert "runs/run.html" in (tmp_path / "pages" / "index.html").read_text()
    assert "cos w(a + b - c) at" in (tmp_path / "pages" / "runs" / "run.html").read_text()


def test_the_demo_ends_with_findings_and_both_places(tiny_demo, tmp_path):
    lines, _ = tiny_demo
    said = headlines_of(current_results(load(tmp_path / "run"))[0])
    places = [f"run     {tmp_path / 'run'}", f"report  {tmp_path / 'pages' / 'index.html'}"]
    assert said
    assert lines == [*(finding.text for finding in said), *places]


def test_the_demo_says_what_it_does_next(tiny_demo):
    assert tiny_demo[1] == ["analysing 5 checkpoints", "writing the report"]


def test_the_demo_trains_the_preset_of_modular_addition(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        demo, "load_experiment", lambda name: asked.append(name) or tiny_experiment(steps=1)
    )
    demo.run_demo(tmp_path / "run", tmp_path / "pages", device="cpu")
    assert asked == ["modular-addition"]
