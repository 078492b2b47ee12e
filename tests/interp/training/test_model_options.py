"""Every option of kind token trains, is kept, resumed and measured."""

from typing import Any

import pytest
import torch

from interp.measure.analyze import analyze
from interp.runs.run import load
from interp.training.loop import train
from interp.training.state import is_trained
from tests.planted import tiny_experiment

OPTIONS: dict[str, dict[str, Any]] = {
    "RMS": {"normalization_type": "RMS"},
    "shortformer": {"positional_embedding_type": "shortformer"},
    "waves": {"positional_embedding_type": "sinusoidal"},
    "no positions": {"positional_embedding_type": "none"},
    "half a head turns": {"positional_embedding_type": "rotary", "rotary_dim": 2},
    "parallel": {"parallel_attn_mlp": True, "normalization_type": "LN"},
    "gated": {"gated_mlp": True, "act_fn": "silu"},
    "shared keys": {"n_key_value_heads": 1},
    "blended": {"pattern_coeff": 0.5, "attention_dir": "bidirectional"},
    "dropout": {"dropout": 0.1},
}


# Every analysis runs with every option, though not for long.
SHORT = {"LocalLearningCoefficient": {"burn_in": 0, "draws": 2}, "EdgeCircuit": {"draws": 1}}


@pytest.fixture(params=list(OPTIONS.values()), ids=list(OPTIONS))
def run(request, tmp_path):
    experiment = tiny_experiment(steps=4)
    model = {"kind": "token", "n_layers": 1, "d_model": 8, "n_heads": 2, "d_mlp": 16}
    experiment = type(experiment).model_validate(
        experiment.model_dump(exclude_unset=True)
        | {"model": model | request.param, "analyses": SHORT}
    )
    return train(experiment, tmp_path / "run", device="cpu")


def test_a_trained_model_is_loaded_with_its_logits(run):
    again = load(run.path)
    assert again.experiment == run.experiment
    assert torch.equal(again.snapshot().logits(), run.snapshot().logits())


@pytest.mark.filterwarnings("ignore:the untrained model, checkpoint 0, is gone")
def test_a_trained_model_is_measured_or_what_it_lacks_is_said(run):
    run.checkpoint(0).unlink()  # one step shows what two would
    reasons = {each.name: each.reason for each in analyze(run)}
    assert not reasons["WeightNorms"]
    assert ("pattern_coeff = 1" in reasons["AttentionSparsity"]) == (
        run.experiment.model.pattern_coeff != 1
    )


def test_a_pattern_for_biases_means_those_that_heads_share_too():
    training = tiny_experiment(frozen=("*.b_*",)).require_training()
    assert not is_trained("blocks.0.attn._b_K", training)
    assert is_trained("blocks.0.attn._W_K", training)
