import pytest
import torch
from torch.testing import assert_close

from hooks import Edit, Examples, Snapshot
from hooks.edit import without_heads
from hooks.gradients import logit_gradients
from hooks.models import parameters_of

ROWS, CLASSES = torch.tensor([0, 8, 8, 30, 48]), torch.tensor([3, 0, 6, 2, 2])


def logits_moved(snapshot, by):
    """The chosen logits of the chosen examples with every embedding moved."""
    move = Edit(hooks={"hook_embed": lambda embedded, hook: embedded + by})
    return snapshot.edited(move).logits()[ROWS, -1, CLASSES]


def test_gradients_equal_finite_differences(snapshot):
    direction = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = logits_moved(snapshot, 1e-6 * direction) - logits_moved(snapshot, -1e-6 * direction)
    slopes = (logit_gradients(snapshot, ROWS, CLASSES) * direction).sum((1, 2))
    assert_close(slopes, moved / 2e-6, rtol=1e-6, atol=1e-8)  # rounding of a difference over 2e-6


def test_gradients_by_the_last_residual_stream_are_columns_of_W_U(snapshot):
    found = logit_gradients(snapshot, ROWS, CLASSES, "blocks.0.hook_resid_post")
    assert_close(found[:, -1], snapshot.weights("W_U").T[CLASSES])
    assert not found[:, :-1].any()


def test_embeddings_before_and_after_positions_are_added_have_the_same_gradient(snapshot):
    before = logit_gradients(snapshot, ROWS, CLASSES)
    assert_close(before, logit_gradients(snapshot, ROWS, CLASSES, "blocks.0.hook_resid_pre"))


def test_batches_do_not_change_gradients(snapshot, monkeypatch):
    whole = logit_gradients(snapshot, ROWS, CLASSES)
    monkeypatch.setattr("hooks.gradients.TOKENS_PER_BATCH", 6)
    assert_close(logit_gradients(snapshot, ROWS, CLASSES), whole)


def test_gradients_are_those_of_the_edited_model(snapshot):
    found = logit_gradients(snapshot.edited(without_heads(0, [0, 1])), ROWS, CLASSES)
    assert not found[:, :-1].any()
    assert found[:, -1].all(-1).all()


def test_the_logit_is_that_of_the_last_scored_position(snapshot):
    examples = snapshot.examples
    scored = torch.tensor([True, True, False]).expand(49, 3)
    middle = Examples(targets=examples.targets, scored=scored, tokens=examples.tokens)
    found = logit_gradients(snapshot.on(middle), ROWS, CLASSES)
    assert found[:, 1].any()
    assert not found[:, 2].any()


def test_parameters_and_their_grads_are_left_alone(snapshot):
    model = snapshot.live.model
    before = {name: value.clone() for name, value in parameters_of(model).items()}
    logit_gradients(snapshot, ROWS, CLASSES)
    assert all(torch.equal(before[name], value) for name, value in parameters_of(model).items())
    assert all(parameter.grad is None for _, parameter in model.named_parameters())
    assert all(parameter.requires_grad for _, parameter in model.named_parameters())


def test_the_model_runs_as_before_afterwards(snapshot):
    model = snapshot.live.model
    model.train()
    before = model(snapshot.examples.tokens)
    logit_gradients(snapshot, ROWS, CLASSES)
    assert torch.equal(model(snapshot.examples.tokens), before)
    assert model.training


def test_gradients_can_be_had_where_gradients_are_off(snapshot):
    with torch.no_grad():
        found = logit_gradients(snapshot, ROWS, CLASSES)
    assert_close(found, logit_gradients(snapshot, ROWS, CLASSES))


def test_an_unknown_hook_point_is_refused_with_near_matches(snapshot):
    with pytest.raises(ValueError, match="no hook point 'hook_embedd'; did you mean hook_embed"):
        logit_gradients(snapshot, ROWS, CLASSES, "hook_embedd")


def test_a_hook_point_that_does_not_fire_is_refused(snapshot):
    with pytest.raises(ValueError, match="does not fire"):
        logit_gradients(snapshot, ROWS, CLASSES, "blocks.0.attn.hook_result")


@pytest.mark.parametrize(("row", "cls", "name"), [(49, 0, "rows"), (0, 7, "classes")])
def test_rows_and_classes_out_of_range_are_refused(snapshot, row, cls, name):
    with pytest.raises(ValueError, match=f"{name}: indices must be at least 0 and below"):
        logit_gradients(snapshot, torch.tensor([row]), torch.tensor([cls]))


def test_an_example_that_is_scored_nowhere_is_refused(snapshot):
    examples = snapshot.examples
    nowhere = Examples(
        targets=torch.zeros(49, 3).long(), scored=torch.zeros(49, 3).bool(), tokens=examples.tokens
    )
    with pytest.raises(ValueError, match="scored nowhere"):
        logit_gradients(Snapshot.of(snapshot.live.model, nowhere), ROWS, CLASSES)
