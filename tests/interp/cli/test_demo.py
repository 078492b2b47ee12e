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


@pytest.fixture(scope="module")
def tiny_demo(tmp_path_factory):
    """The place, the lines and the stages of a demo of the tiny experiment."""
    place, stages = tmp_path_factory.mktemp("demo"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "load_experiment", lambda name: tiny_experiment())
        lines = demo.run_demo(place / "run", place / "pages", device="cpu", on_stage=stages.append)
    return place, lines, stages


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


def test_the_demo_leaves_a_finished_and_analysed_run(tiny_demo):
    run = load(tiny_demo[0] / "run")
    assert run.steps == (0, 10, 20, 30, 40)
    assert list((run.path / "results" / "FourierCircuit").glob("*/40.npz"))


def test_the_demo_leaves_a_report(tiny_demo):
    pages = tiny_demo[0] / "pages"
    assert "runs/run.html" in (pages / "index.html").read_text()
    assert "cos w(a + b - c) at" in (pages / "runs" / "run.html").read_text()


def test_the_demo_ends_with_findings_and_both_places(tiny_demo):
    place, lines, _ = tiny_demo
    said = headlines_of(current_results(load(place / "run"))[0])
    places = [f"run     {place / 'run'}", f"report  {place / 'pages' / 'index.html'}"]
    assert said
    assert lines == [*(finding.text for finding in said), *places]


def test_the_demo_says_what_it_does_next(tiny_demo):
    assert tiny_demo[2] == ["analysing 5 checkpoints", "writing the report"]


def test_the_demo_trains_the_preset_of_modular_addition(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        demo, "load_experiment", lambda name: asked.append(name) or tiny_experiment(steps=1)
    )
    demo.run_demo(tmp_path / "run", tmp_path / "pages", device="cpu")
    assert asked == ["modular-addition"]
