import random

import numpy as np
import pytest
import torch

from hooks import Sizes, build
from hooks.models import TokenConfig, config_of, move, parameters_of, restore
from tests.planted import SIZES, random_model, tiny_config

CONFIG = tiny_config()


def test_one_seed_gives_the_same_weights_each_time():
    first, second = (parameters_of(build(CONFIG, SIZES, seed=3)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights():
    first, second = (parameters_of(build(CONFIG, SIZES, seed=seed)) for seed in (3, 4))
    assert not torch.equal(first["embed.W_E"], second["embed.W_E"])


def test_building_leaves_torchs_random_state_alone():
    before = torch.get_rng_state()
    build(CONFIG, SIZES, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_building_leaves_numpys_random_state_alone():
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002  # the global state is the subject
    build(CONFIG, SIZES, seed=3)
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    assert (after == before).all()


def test_building_leaves_pythons_random_state_alone():
    before = random.getstate()
    build(CONFIG, SIZES, seed=3)
    assert random.getstate() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_have_the_dtype_asked_for(dtype):
    model = build(CONFIG, SIZES, seed=0, dtype=dtype)
    assert {value.dtype for value in parameters_of(model).values()} == {getattr(torch, dtype)}


def test_scores_are_scaled_by_plain_numbers():
    model = build(tiny_config(n_layers=2), SIZES, seed=0)
    scales = [each.attn_scale for each in model.modules() if hasattr(each, "attn_scale")]
    assert [type(scale) for scale in scales] == [float, float]


def test_a_restored_model_holds_the_parameters_bit_for_bit():
    given = parameters_of(random_model())
    held = parameters_of(restore(CONFIG, SIZES, given))
    assert all(torch.equal(held[name], given[name]) for name in given)


def test_a_restored_model_does_not_share_memory():
    given = parameters_of(random_model())
    parameters_of(restore(CONFIG, SIZES, given))["embed.W_E"].zero_()
    assert (given["embed.W_E"] != 0).all()


def test_the_config_of_a_live_model_rebuilds_it():
    model = random_model(n_layers=2, normalization_type="LN", act_fn="gelu")
    held = restore(config_of(model), SIZES, parameters_of(model))
    tokens = torch.tensor([[1, 2, 7]])
    assert torch.equal(held(tokens), model(tokens))


def test_the_head_size_follows_from_the_width():
    assert TokenConfig(d_model=12, n_heads=3).head_size == 4


def test_moving_a_model_takes_its_tokens_along():
    model = random_model()
    move(model, torch.device("meta"))
    tokens = torch.zeros(2, 3, dtype=torch.long, device="meta")
    assert model(tokens).device.type == "meta"


def test_parameters_of_another_shape_are_refused():
    given = parameters_of(random_model(Sizes(d_vocab=9, d_vocab_out=7, n_ctx=3)))
    message = r"embed\.W_E: the config wants shape \[8, 8\], the checkpoint has shape \[9, 8\]"
    with pytest.raises(ValueError, match=message):
        restore(CONFIG, SIZES, given)


def test_a_missing_parameter_is_refused():
    given = parameters_of(random_model())
    del given["embed.W_E"]
    with pytest.raises(ValueError, match=r"embed\.W_E: .* the checkpoint has none"):
        restore(CONFIG, SIZES, given)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="d_model 10 is not a multiple of n_heads 4"):
        TokenConfig(d_model=10, n_heads=4)
