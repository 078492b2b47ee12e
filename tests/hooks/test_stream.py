import weakref

import pytest
import torch
from torch.testing import assert_close

from hooks import Snapshot
from hooks.edit import without_heads
from hooks.stream import stream

PATTERN = "blocks.0.attn.hook_pattern"
Z = "blocks.0.attn.hook_z"


def sums(activation, rows):
    return {"sum": activation.sum(0)}


def rows_of(activation, rows):
    return {"rows": torch.arange(rows.start, rows.stop), "last": activation[:, -1]}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Four examples a batch: 49 examples make thirteen, the last of one."""
    monkeypatch.setattr("hooks.snapshot.TOKENS_PER_BATCH", 12)


def test_streamed_sums_are_those_of_the_cache(snapshot):
    found = stream(snapshot, {PATTERN: sums, Z: sums})
    expected = snapshot.cache([PATTERN, Z])
    assert list(found) == [PATTERN, Z]
    assert_close(found[PATTERN]["sum"], expected[PATTERN].sum(0))
    assert_close(found[Z]["sum"], expected[Z].sum(0))


def test_statistics_by_example_are_joined_in_order(snapshot):
    found = stream(snapshot, {Z: rows_of}, combine=lambda parts: torch.cat(list(parts)))[Z]
    assert torch.equal(found["rows"], torch.arange(49))
    assert torch.equal(found["last"], snapshot.cache([Z])[Z][:, -1])


def test_streaming_sees_the_edits(snapshot):
    found = stream(snapshot.edited(without_heads(0, [1])), {Z: sums})[Z]["sum"]
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] != 0).all()


def test_no_activation_outlives_its_batch(snapshot):
    seen = []
    alive = []

    def watch(activation, rows):
        alive.append(sum(each() is not None for each in seen))
        seen.append(weakref.ref(activation))
        return {"view": activation[:, -1]}

    stream(snapshot, {PATTERN: watch}, combine=lambda parts: torch.cat(list(parts)))
    assert alive == [0] * 13


def test_a_statistic_that_is_a_view_does_not_keep_its_activation(snapshot):
    def view(activation, rows):
        return {"one": activation[:1, 0, 0, 0]}

    kept = []

    def sizes(parts):
        kept.extend(part.untyped_storage().nbytes() for part in parts)
        return parts[0]

    stream(snapshot, {PATTERN: view}, combine=sizes)
    assert kept == [8] * 13  # one float64 a batch


def test_the_memory_limit_of_the_cache_does_not_bind(snapshot):
    small = Snapshot(snapshot.live, snapshot.examples, memory_limit=1)
    with pytest.raises(ValueError, match="memory_limit"):
        small.cache([PATTERN])
    found = stream(small, {PATTERN: sums})[PATTERN]["sum"]
    assert_close(found, snapshot.cache([PATTERN])[PATTERN].sum(0))


def test_what_lies_behind_the_last_name_is_not_computed(snapshot):
    ran = []
    with snapshot.running() as model:
        handle = model.unembed.register_forward_hook(lambda *ignored: ran.append(True))
        stream(snapshot, {PATTERN: sums})
        handle.remove()
    assert ran == []


def test_the_model_is_free_and_unhooked_afterwards(snapshot):
    expected = snapshot.logits()
    stream(snapshot, {PATTERN: sums})
    assert snapshot.live.user is None
    assert torch.equal(snapshot.on(snapshot.examples).logits(), expected)


def test_an_unknown_hook_name_is_refused_with_near_matches(snapshot):
    with pytest.raises(ValueError, match=r"no hook point .*did you mean .*hook_pattern"):
        stream(snapshot, {"blocks.0.attn.hook_patern": sums})


def test_a_hook_point_that_does_not_fire_is_refused(snapshot):
    with pytest.raises(ValueError, match=r"attn\.hook_result exists but does not fire"):
        stream(snapshot, {"blocks.0.attn.hook_result": sums})
