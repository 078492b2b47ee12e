"""The stored run of question formation: its last checkpoint does what its metrics say."""

from pathlib import Path

import pytest

from analyses import Generalization, TreeProjection
from interp.runs.run import load
from interp.training.state import drop_nan

FIXTURE = Path(__file__).parents[3] / "fixtures" / "question-formation-small"


@pytest.fixture(scope="module")
def run():
    return load(FIXTURE)


@pytest.fixture(scope="module")
def trees(run):
    """Trees of generalization sentences, by step."""
    return {
        step: TreeProjection.measure(run.snapshot(step, "generalization", 100))
        for step in (run.steps[0], run.steps[-1])
    }


@pytest.mark.parametrize("split", ["validation", "generalization"])
def test_the_last_checkpoint_scores_what_was_recorded(run, split):
    recorded = run.metrics.iloc[-1].filter(like=f"{split}.")
    found = drop_nan(run.experiment.task.score(run.snapshot(split=split)))
    # On other processors float32 products differ in their last digits, and so may single lines.
    assert {f"{split}.{name}": value for name, value in found.items()} == pytest.approx(
        recorded.to_dict(), abs=0.01
    )


def test_success_is_read_off_every_evaluation_not_off_stored_checkpoints(run):
    assert len(Generalization.measure(run.series()).steps) == 31


def test_training_makes_the_computation_more_like_trees(trees):
    untrained, trained = trees.values()
    assert trained.tscore > untrained.tscore + 0.2


def test_greedy_trees_of_the_trained_model_alone_are_better_than_any_made_without_one(trees):
    untrained, trained = trees.values()
    best = max(trained.baselines().values())
    assert untrained.f1() < best
    assert trained.f1() > best + 0.1


def test_trees_on_centred_charts_are_worse_than_random_ones(trees):
    trained = [*trees.values()][-1]
    assert trained.f1("cky_centred") < trained.baselines()["random"]


def test_the_stored_run_takes_less_than_ten_megabytes():
    assert sum(file.stat().st_size for file in FIXTURE.rglob("*") if file.is_file()) < 10e6
