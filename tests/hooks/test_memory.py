"""What callers write into tensors they were handed changes no later answer."""

import numpy as np
import pytest
import torch

from hooks.live_model import Memory

Z = "blocks.0.attn.hook_z"


def centred(logits):
    logits -= logits.mean(-1, keepdim=True)


def centred_in_numpy(logits):
    array = logits.numpy()
    array -= array.mean(-1, keepdims=True)


def zeroed_in_part(logits):
    logits[3].zero_()


WRITES = pytest.mark.parametrize("write", [centred, centred_in_numpy, zeroed_in_part])


@WRITES
def test_writing_into_logits_leaves_later_ones_alone(snapshot, write):
    expected = snapshot.logits().clone()
    write(snapshot.logits())
    assert torch.equal(snapshot.logits(), expected)


@WRITES
def test_writing_into_a_cache_leaves_later_ones_alone(snapshot, write):
    expected = snapshot.cache(Z)[Z].clone()
    write(snapshot.cache([Z, "hook_embed"])[Z])
    assert torch.equal(snapshot.cache(Z)[Z], expected)


def test_tokens_that_were_written_to_give_their_own_logits(snapshot):
    first = snapshot.logits().clone()
    snapshot.examples.tokens.copy_(snapshot.examples.tokens.flip(0))
    torch.testing.assert_close(snapshot.logits(), first.flip(0))


def test_what_nobody_wrote_to_is_not_computed_again(snapshot):
    assert snapshot.logits() is snapshot.logits()
    assert snapshot.cache(Z)[Z] is snapshot.cache(Z)[Z]


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "float64"])
@pytest.mark.parametrize("columns", [3, 4])
def test_a_change_of_any_type_and_layout_is_noticed(dtype, columns):
    array = np.zeros((5, 7), dtype=dtype)
    tensor = torch.from_numpy(array)[:, :columns]
    memory = Memory(torch.zeros(1))
    memory["it"] = tensor
    assert memory.get("it") is tensor
    array[2, 1] = 1
    assert memory.get("it") is None
