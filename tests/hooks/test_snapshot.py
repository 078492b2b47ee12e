import pytest
import torch
from torch.testing import assert_close

from hooks import Edit, Examples, Snapshot
from hooks.edit import with_weights, without_heads
from hooks.messages import at_step
from hooks.models import TokenConfig, parameters_of
from tests.planted import random_model, tokens_as_examples, uniform_attention_model

PATTERN = "blocks.0.attn.hook_pattern"
ALL_PAIRS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def test_logits_are_the_models_own(snapshot):
    assert_close(snapshot.logits(), snapshot.live.model(snapshot.examples.model_inputs).detach())


def test_a_bare_models_step_is_not_known(snapshot):
    assert (snapshot.step, at_step(snapshot.step)) == (None, "")


def test_messages_name_a_step_that_is_known(snapshot):
    later = Snapshot.of(snapshot.live.model, snapshot.examples, step=300)
    assert at_step(later.step) == " at step 300"


def test_logits_do_not_depend_on_the_size_of_batches(snapshot, monkeypatch):
    expected = snapshot.logits()
    monkeypatch.setattr("hooks.snapshot.TOKENS_PER_BATCH", 12)
    assert_close(snapshot.on(snapshot.examples).logits(), expected)


def test_the_edited_snapshot_read_first_leaves_the_plain_ones_logits(snapshot):
    expected = snapshot.live.model(snapshot.examples.model_inputs).detach()
    snapshot.edited(without_heads(0, [0])).logits()
    assert torch.equal(snapshot.logits(), expected)


def test_the_plain_snapshot_read_first_leaves_the_edited_ones_logits(snapshot):
    expected = snapshot.edited(without_heads(0, [0])).logits()
    snapshot.logits()
    assert torch.equal(snapshot.edited(without_heads(0, [0])).logits(), expected)


def test_edits_add_up(snapshot):
    both = snapshot.edited(without_heads(0, [0, 1])).logits()
    one_by_one = snapshot.edited(without_heads(0, [0])).edited(without_heads(0, [1]))
    assert torch.equal(one_by_one.logits(), both)


def test_attention_without_queries_is_uniform_over_the_keys_seen():
    snapshot = Snapshot.of(uniform_attention_model(), tokens_as_examples(ALL_PAIRS))
    rows = torch.tril(torch.ones(3, 3, dtype=torch.float64))
    expected = (rows / rows.sum(1, keepdim=True)).expand(49, 2, 3, 3)
    assert_close(snapshot.cache([PATTERN])[PATTERN], expected)
    assert_close(snapshot.cache(PATTERN)[PATTERN], expected)


def test_the_cache_sees_the_edits(snapshot):
    name = "blocks.0.attn.hook_z"
    z = snapshot.edited(without_heads(0, [1])).cache([name])[name]
    assert (z[:, :, 1] == 0).all()


def test_weights_are_read_through_the_edits(snapshot):
    zeros = torch.zeros(8, 8)
    assert (snapshot.edited(with_weights({"embed.W_E": zeros})).weights("W_E") == 0).all()


def test_weights_read_before_an_edit_do_not_change_inside_it(snapshot):
    before = snapshot.weights("W_E")
    expected = before.clone()
    with snapshot.edited(with_weights({"embed.W_E": torch.zeros(8, 8)})).running():
        assert torch.equal(before, expected)


def test_changing_weights_that_were_read_leaves_the_model_alone(snapshot):
    snapshot.weights("W_E").zero_()
    assert (snapshot.weights("W_E") != 0).all()


def test_running_puts_the_model_into_evaluation_mode(snapshot):
    with snapshot.running() as model:
        assert not model.training


def test_running_puts_the_mode_back(snapshot):
    snapshot.live.model.train(True)
    with snapshot.running():
        pass
    assert snapshot.live.model.training


def test_gradients_flow_while_running(snapshot):
    with snapshot.running() as model:
        model(snapshot.examples.model_inputs).sum().backward()
        assert dict(model.named_parameters())["embed.W_E"].grad is not None


def test_a_snapshot_runs_inside_itself(snapshot):
    with snapshot.running():
        assert snapshot.logits().shape == (49, 3, 7)


def test_another_snapshot_of_a_running_model_is_refused(snapshot):
    with (
        snapshot.edited(without_heads(0, [0])).running(),
        pytest.raises(ValueError, match="another snapshot of this model is running"),
    ):
        snapshot.logits()


def test_weights_of_another_snapshot_of_a_running_model_are_refused(snapshot):
    with (
        snapshot.edited(with_weights({"embed.W_E": torch.zeros(8, 8)})).running(),
        pytest.raises(ValueError, match="another snapshot of this model is running"),
    ):
        snapshot.weights("W_E")


def test_the_model_is_free_after_an_edit_that_does_not_fit(snapshot):
    with pytest.raises(ValueError, match="no parameter"):
        snapshot.edited(with_weights({"nothing": torch.zeros(1)})).logits()
    assert snapshot.live.user is None


def test_an_unknown_hook_name_is_refused_with_near_matches(snapshot):
    with pytest.raises(ValueError, match=r"no hook point .*did you mean .*hook_pattern"):
        snapshot.cache(["blocks.0.attn.hook_patern"])


def test_a_hook_point_that_does_not_fire_is_refused(snapshot):
    with pytest.raises(ValueError, match=r"attn\.hook_result exists but does not fire"):
        snapshot.cache(["blocks.0.attn.hook_result"])


def test_an_edit_of_an_unknown_hook_is_refused(snapshot):
    with pytest.raises(ValueError, match="no hook point 'hook_embedding'; did you mean hook_embed"):
        snapshot.edited(Edit(hooks={"hook_embedding": lambda value, hook: value})).logits()


def test_a_sequence_over_n_ctx_is_refused():
    tokens = torch.zeros(2, 4, dtype=torch.long)
    snapshot = Snapshot.of(random_model(), tokens_as_examples(tokens))
    with pytest.raises(ValueError, match="examples have 4 positions, the model's n_ctx is 3"):
        snapshot.logits()


def test_a_cache_over_the_memory_limit_is_refused_with_its_size(snapshot):
    small = Snapshot(snapshot.live, snapshot.examples, memory_limit=1000)
    with pytest.raises(ValueError, match=r"takes 0\.00706 MB, over memory_limit 0\.001 MB"):
        small.cache([PATTERN])  # 49 examples, 2 heads, 3 x 3 float64


def test_a_snapshot_can_be_made_of_a_model_without_mlps():
    model = random_model(attn_only=True)
    model.cfg.act_fn = None
    config = Snapshot.of(model, tokens_as_examples(ALL_PAIRS)).config
    assert isinstance(config, TokenConfig)
    assert config.attn_only


def test_examples_without_tokens_and_inputs_are_refused():
    with pytest.raises(ValueError, match="give one of the two"):
        Examples(targets=torch.zeros(1, 1), scored=torch.ones(1, 1, dtype=torch.bool))


def test_an_unknown_label_is_refused_with_those_there_are(snapshot):
    with pytest.raises(ValueError, match="no 'depth'; this task provides: a, b"):
        snapshot.examples.label("depth")


def test_the_head_of_examples_keeps_their_truth(snapshot):
    assert torch.equal(snapshot.examples.head(3).label("b"), torch.tensor([0, 1, 2]))


def test_positions_beyond_an_examples_length_are_not_visible():
    examples = Examples(
        targets=torch.zeros(2, 3, dtype=torch.long),
        scored=torch.tensor([[True, False, False], [True, True, True]]),
        tokens=torch.zeros(2, 3, dtype=torch.long),
        lengths=torch.tensor([1, 3]),
    )
    assert examples.visible.tolist() == [[True, False, False], [True, True, True]]


def test_parameters_have_no_gradient(snapshot):
    assert not any(value.requires_grad for value in parameters_of(snapshot.live.model).values())


def test_an_edit_at_a_hook_point_that_never_fires_is_refused(snapshot):
    edit = Edit(hooks={"blocks.0.attn.hook_result": lambda activation, hook: activation})
    with pytest.raises(ValueError, match="hook_result exists but does not fire"):
        snapshot.edited(edit).logits()


def test_a_snapshot_shows_its_step_and_how_many_examples_it_has(snapshot):
    assert repr(snapshot) == f"Snapshot(step unknown, {len(snapshot.examples)} examples)"
    edited = Snapshot.of(snapshot.live.model, snapshot.examples, step=3).edited(Edit(), Edit())
    assert repr(edited) == f"Snapshot(step 3, {len(snapshot.examples)} examples, 2 edits)"
