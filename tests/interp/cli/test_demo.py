from pathlib import Path

import pytest

from analyses import FourierCircuit, FourierSpectrum
from analyses.findings import percent
from interp.cli import demo
from interp.runs import current_results, headlines_of
from interp.runs.run import load
from tests.planted import tiny_experiment

GROKKED = load(Path(__file__).parents[3] / "fixtures" / "modular-addition")


@pytest.fixture(scope="module")
def found():
    return [finding.text for finding in headlines_of(current_results(GROKKED)[0])]


@pytest.fixture
def tiny_demo(monkeypatch, tmp_path):
    """The lines and the stages of a demo of the tiny experiment."""
    monkeypatch.setattr(demo, "load_experiment", lambda name: tiny_experiment())
    stages = []
    lines = demo.run_demo(
        tmp_path / "run", tmp_path / "pages", device="cpu", on_stage=stages.append
    )
    return lines, stages


def test_the_steps_at_which_accuracy_rose_are_stated_first(found):
    assert "Train accuracy reaches 99 % at step 75" in found[0]
    assert "test accuracy at step 575" in found[0]


def test_the_key_frequencies_are_stated_beside_the_untrained_count(found):
    untrained = FourierSpectrum.measure(GROKKED.snapshot(0)).key_frequencies
    assert "3 of 26 frequencies" in found[1]
    assert found[1].endswith(f"(untrained: {len(untrained)})")


def test_the_explained_share_is_stated_beside_the_untrained_one(found):
    last = FourierCircuit.measure(GROKKED.snapshot())
    assert f"explains {percent(last.key_fve)} of the logits (untrained: " in found[2]


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
