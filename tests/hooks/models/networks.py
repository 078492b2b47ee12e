"""Small networks with one hidden layer, in every variant."""

import itertools
from typing import Any

import pytest
import torch

from hooks import Sizes, Snapshot, build
from hooks.models import MLPConfig, parameters_of
from tests.planted import tokens_as_examples

P, N = 7, 6  # seven tokens; widths of six, so that every variant can be tied
TOKENS = Sizes(d_vocab=P, d_vocab_out=P, n_ctx=2)
REAL = Sizes(d_in=5, d_vocab_out=2, n_ctx=1)
PAIRS = torch.cartesian_prod(torch.arange(P), torch.arange(P))
AXES = ("tied", "shared_in", "collapsed_in", "collapsed_out")
VARIANTS = [
    dict(zip(AXES, values, strict=True)) for values in itertools.product([False, True], repeat=4)
]
OTHERS = [
    {"shared_embedding": False},
    {"shared_embedding": False, "shared_in": False},
    {"shared_embedding": False, "collapsed_in": True, "collapsed_out": True},
    {"bias_in": True, "bias_out": True},
    {"bias_in": True, "bias_out": True, "tied": True, "collapsed_in": True},
    {"d_mlp": 3, "act_fn": "square"},
    {"d_mlp": 9, "act_fn": "abs", "collapsed_in": True},
    {"act_fn": "gelu"},
]
every = pytest.mark.parametrize("options", VARIANTS + OTHERS, ids=str)


def config(**options: Any) -> MLPConfig:
    return MLPConfig.model_validate({"d_model": N, "d_mlp": N} | options)


def random_mlp(sizes: Sizes = TOKENS, *, seed: int = 0, **options: Any) -> Any:
    """A network all of whose parameters are random, biases too, in float64."""
    model = build(config(**options), sizes, seed=seed, dtype="float64")
    generator = torch.Generator().manual_seed(seed)
    for value in parameters_of(model).values():
        value += torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return model


def snapshot_of(model):
    return Snapshot.of(model, tokens_as_examples(PAIRS))
