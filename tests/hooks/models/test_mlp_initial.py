import math

import pytest
import torch
from torch.testing import assert_close

from hooks import Sizes, build
from hooks.models import MLPConfig, parameters_of
from tests.hooks.models.networks import REAL, TOKENS, N, P, config


def test_the_articles_network_starts_at_its_norm():
    # PAIR's notebook prints a global L2 norm of 37.39 at step 0.
    sizes = Sizes(d_vocab=67, d_vocab_out=67, n_ctx=2)
    model = build(MLPConfig(d_model=500, d_mlp=24, tied=True), sizes, seed=0)
    norm = math.sqrt(sum(float(value.square().sum()) for value in parameters_of(model).values()))
    assert norm == pytest.approx(37.39, abs=0.5)


@pytest.mark.parametrize(
    ("name", "fan_in", "variance"),
    [
        ("embed.W_E", 300, 2),
        ("blocks.0.mlp.W_in", 200, 0.7737),  # of a standard normal cut at 2 on both sides
        ("blocks.0.mlp.W_out", 400, 0.7737),
        ("unembed.W_U", 200, 2),
    ],
)
def test_initial_weights_have_the_notebooks_variances(name, fan_in, variance):
    sizes = Sizes(d_vocab=300, d_vocab_out=300, n_ctx=2)
    own = parameters_of(build(MLPConfig(d_model=200, d_mlp=400), sizes, seed=0))
    # The standard error of a variance of 60,000 values is under 1 %.
    assert float(own[name].var()) * fan_in == pytest.approx(variance, rel=0.03)


def test_initial_weights_are_cut_at_two_standard_deviations():
    own = parameters_of(build(config(d_mlp=4000), TOKENS, seed=0))
    assert 1.9 < float(own["blocks.0.mlp.W_in"].abs().max()) * math.sqrt(N) <= 2


def test_initial_biases_are_zero():
    own = parameters_of(build(config(bias_in=True, bias_out=True), TOKENS, seed=0))
    assert not own["blocks.0.mlp.b_in"].any()
    assert not own["unembed.b_U"].any()


def test_a_matrix_on_real_inputs_starts_like_those_inside():
    sizes = Sizes(d_in=300, d_vocab_out=2, n_ctx=1)
    own = parameters_of(build(config(d_mlp=400, collapsed_in=True), sizes, seed=0))
    assert float(own["blocks.0.mlp.W_in"].var()) * 300 == pytest.approx(0.7737, rel=0.03)


@pytest.mark.parametrize("d_model", [2, 6])
def test_the_circles_columns_have_unit_norm_and_are_orthogonal(d_model):
    own = parameters_of(
        build(config(d_model=d_model, embedding="circle"), TOKENS, seed=0, dtype="float64")
    )
    table = own["embed.W_E"]
    assert_close(table.T @ table, torch.eye(d_model, dtype=torch.float64))


def test_the_circle_turns_once_over_the_tokens():
    model = build(config(d_model=2, embedding="circle"), TOKENS, seed=0, dtype="float64")
    table = parameters_of(model)["embed.W_E"] * math.sqrt(P / 2)
    angle = 2 * math.pi * 3 / P
    assert_close(table[3], torch.tensor([math.cos(angle), math.sin(angle)]).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tied": True, "shared_embedding": False}, "tied needs one embedding for all operands"),
        ({"tied": True, "one_logit": True}, "tied gives each class a column and one_logit"),
        (
            {"tied": True, "collapsed_out": True, "d_mlp": 24, "d_model": 500},
            r"tied with one side collapsed needs d_model = d_mlp \(got 500 and 24\)",
        ),
        ({"embedding": "circle", "d_model": 3}, "needs an even d_model"),
        ({"embedding": "circle", "collapsed_in": True}, "collapsed_in = false"),
        ({"act_fn": "tanh"}, "act_fn"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        (REAL, {"tied": True}, "model: tied needs tokens, and this task has real inputs"),
        (REAL, {"embedding": "circle"}, "model: embedding = circle needs tokens"),
        (
            Sizes(d_vocab=8, d_vocab_out=7, n_ctx=3),
            {"tied": True},
            r"model: tied needs as many tokens as classes, this task has 8 and 7: .*equals = false",
        ),
        (TOKENS, {"one_logit": True}, "one_logit is for two classes, this task has 7"),
        (
            TOKENS,
            {"embedding": "circle", "d_model": 8},
            r"at most d_model = 6 columns over 7 tokens \(got 8\)",
        ),
    ],
)
def test_options_that_a_task_does_not_allow_are_refused(sizes, options, message):
    with pytest.raises(ValueError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        build(config(**options), sizes, seed=0)
