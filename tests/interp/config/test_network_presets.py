"""Networks with one hidden layer against figures published or measured elsewhere."""

from typing import cast

import pytest

from hooks import InputFacts
from interp.config.experiment import load_experiment
from interp.config.training import Training
from interp.training.loop import train


def trained(name, path, seed=0, **training):
    experiment = load_experiment(name).with_seed(seed)
    changed = cast(Training, experiment.training).model_copy(update=training)
    return train(experiment.model_copy(update={"training": changed}), path, device="cpu")


@pytest.fixture(scope="module")
def twenty_four(tmp_path_factory):
    """The first 200 updates of the article's network, by step."""
    path = tmp_path_factory.mktemp("runs") / "mlp-addition-24"
    return trained("mlp-addition-24", path, steps=200).series().metrics.set_index("step")


@pytest.mark.parametrize(
    ("step", "train", "test"),
    # Losses that PAIR's notebook prints, cross-entropy / 67, from other random numbers.
    [(0, 0.0652, 0.0644), (100, 0.0282, 0.1508), (200, 0.00997, 0.3224)],
)
def test_the_articles_network_has_the_losses_of_its_notebook(twenty_four, step, train, test):
    row = twenty_four.loc[step] / 67
    assert row["train.loss"] == pytest.approx(train, rel=0.1)
    assert row["test.loss"] == pytest.approx(test, rel=0.1)


def first(metrics, split):
    """The first evaluated step at 99 %."""
    return int(metrics["step"][metrics[f"{split}.accuracy"] >= 0.99].min())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_parity_is_memorised_at_chance_and_generalises_later(seed, tmp_path):
    metrics = trained("parity", tmp_path / "run", seed).series().metrics
    fitted = metrics.set_index("step").loc[first(metrics, "train")]
    assert 0.45 < fitted["test.accuracy"] < 0.6
    assert first(metrics, "test") > 4 * first(metrics, "train")
    assert metrics["test.accuracy"].iloc[-1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_l1_prunes_the_distractors_of_the_articles_parity(seed, tmp_path):
    run = trained("parity-1200", tmp_path / "run", seed)
    inputs = run.weights("blocks.0.mlp.W_in")[-1].abs().amax(1)
    is_bias = run.experiment.task.facts(InputFacts).bias_input
    assert inputs[3:is_bias].max() < 0.05 < inputs[:3].min()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_thirty_two_neurons_grok_addition(seed, tmp_path):
    metrics = trained("mlp-addition", tmp_path / "run", seed, steps=1500).series().metrics
    assert first(metrics, "train") <= 200
    assert 2 * first(metrics, "train") <= first(metrics, "test") <= 1000
