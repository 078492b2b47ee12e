"""Dropout in post-norm models, alone and in a stack."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from hooks import build
from hooks.fast.stack import stacked_logits
from hooks.models import PostNormConfig, parameters_of
from hooks.models.base import HookedModel
from tests.hooks.models.post_norm import SIZES, TOKENS, random_model, tiny


def dropouts(model: HookedModel) -> int:
    return sum(isinstance(module, torch.nn.Dropout) for module in model.modules())


def test_dropout_stands_at_five_places_where_it_is_asked_for():
    # After the embedding; a block has one on weights, one on neurons, and one for both outputs.
    assert dropouts(build(tiny(dropout=0.1), SIZES, seed=0)) == 1 + 3 * 3
    assert dropouts(build(tiny(), SIZES, seed=0)) == 0


def test_dropout_acts_while_training_only():
    dropping: Any = build(tiny(dropout=0.5), SIZES, seed=0)
    plain = build(tiny(), SIZES, seed=0)
    plain.train(False)
    dropping.train(False)
    assert torch.equal(dropping(TOKENS), plain(TOKENS))
    dropping.train(True)
    assert not torch.allclose(dropping(TOKENS), plain(TOKENS))


@pytest.mark.parametrize(
    "module", ["dropout", "blocks.0.attn.dropout", "blocks.0.mlp.dropout", "blocks.0.dropout"]
)
def test_each_dropout_changes_the_logits(module):
    model: Any = build(tiny(dropout=0.5), SIZES, seed=0)
    model.train(False)
    before = model(TOKENS)
    model.get_submodule(module).train(True)
    assert not torch.allclose(model(TOKENS), before)


def stacked(config: PostNormConfig, members: list[Any]) -> torch.Tensor:
    parameters = {
        name: torch.stack([parameters_of(each)[name] for each in members])
        for name in parameters_of(members[0])
    }
    model = build(config, SIZES, seed=0, dtype="float64")
    return stacked_logits(model, config, "all")(parameters, TOKENS, True)


def test_a_stack_has_its_members_logits():
    members = [random_model(seed) for seed in range(3)]
    found = stacked(tiny(), members)
    for logits, member in zip(found, members, strict=True):
        assert_close(logits, member(TOKENS), rtol=1e-9, atol=1e-9)


def test_every_member_of_a_stack_drops_its_own():
    found = stacked(tiny(dropout=0.5), [random_model(dropout=0.5)] * 2)
    assert not torch.allclose(found[0], found[1])
