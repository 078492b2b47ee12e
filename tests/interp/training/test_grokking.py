"""The smoke preset, trained until it groks. Bands: five seeds tried for p = 37, with some room."""

import pytest
import torch

from interp.config.experiment import load_experiment
from interp.training.loop import train


@pytest.fixture(scope="module")
def grokked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    return train(load_experiment("modular-addition-smoke"), folder, device="cpu")


def crossing(run, split):
    """First step of three evaluations in a row at 99 %."""
    metrics = run.series().metrics
    held = (metrics[f"{split}.accuracy"] >= 0.99).rolling(3).sum() == 3
    return int(metrics["step"][held.idxmax() - 2])


def powers_of_embedding(run, step):
    """Shares of W_E's power, frequencies 1 to 18, the largest first."""
    spectrum = torch.fft.rfft(run.parameters(step)["embed.W_E"][:37].double(), dim=0)
    power = spectrum.abs().square().sum(1)[1:]
    return (power / power.sum()).sort(descending=True).values


def test_it_fits_the_training_set_within_150_updates(grokked):
    assert crossing(grokked, "train") <= 150


def test_the_test_set_follows_much_later(grokked):
    assert crossing(grokked, "test") >= 2 * crossing(grokked, "train")


def test_it_generalises_within_2900_updates(grokked):
    assert crossing(grokked, "test") <= 2900


def test_it_stops_200_updates_after_the_crossing(grokked):
    assert grokked.steps[-1] == crossing(grokked, "test") + 200


def test_it_ends_with_nearly_every_test_answer_right(grokked):
    assert grokked.series().metrics["test.accuracy"].iloc[-1] > 0.97


def test_test_answers_are_near_chance_when_the_training_set_is_fitted(grokked):
    metrics = grokked.series().metrics.set_index("step")
    assert metrics["test.accuracy"][crossing(grokked, "train")] < 0.5


def test_few_frequencies_carry_the_embedding_at_the_end(grokked):
    assert powers_of_embedding(grokked, grokked.steps[-1])[:4].sum() > 0.85


def test_no_few_frequencies_carry_the_embedding_at_the_start(grokked):
    assert powers_of_embedding(grokked, 0)[:4].sum() < 0.5
