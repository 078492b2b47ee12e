"""Tests of my_model.py: run `python -m pytest test_my_model.py`."""

import pytest
import torch
from hooks import Sizes, Snapshot, build
from interp.tasks.modular_arithmetic import ModularArithmetic

from my_model import MyModel

TASK = ModularArithmetic(p=5)


def test_logits_do_not_depend_on_the_order_of_the_tokens():
    model = build(MyModel(), TASK.sizes, seed=0, dtype="float64")
    one, other = model(torch.tensor([[1, 2, 3], [2, 1, 3]]))
    assert torch.allclose(one[-1], other[-1])
    assert not torch.allclose(one[0], other[0])


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (
        dict(build(MyModel(), TASK.sizes, seed=seed).named_parameters()) for seed in (0, 0, 1)
    )
    assert all(torch.equal(values, same[name]) for name, values in one.items())
    assert not torch.equal(one["embed.weight"], other["embed.weight"])


def test_activations_are_read_by_name():
    examples = TASK.examples("all", None, 0)
    snapshot = Snapshot.of(build(MyModel(d_model=8), TASK.sizes, seed=0), examples)
    cache = snapshot.cache(["hook_embed", "hook_sum"])
    assert cache["hook_sum"].shape == (25, 3, 8)
    last_vectors = cache["hook_sum"][:, 2] - cache["hook_sum"][:, 1]
    assert torch.allclose(last_vectors, cache["hook_embed"][:, 2], atol=1e-5)


def test_no_position_sees_a_later_one():
    model = build(MyModel(), TASK.sizes, seed=0, dtype="float64")
    one, other = model(torch.tensor([[1, 2, 3], [1, 2, 4]]))
    assert MyModel().attention_dir == "causal"
    assert torch.allclose(one[:2], other[:2])
    assert not torch.allclose(one[2], other[2])


def test_real_inputs_are_refused():
    with pytest.raises(ValueError, match="reads tokens, and the task has real-valued inputs"):
        build(MyModel(), Sizes(d_in=2, d_vocab_out=2, n_ctx=1), seed=0)
