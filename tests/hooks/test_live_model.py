"""A live model that was changed, hooked, wrapped or trained is noticed."""

from typing import Any

import pytest
import torch

from hooks import Edit, Series, Snapshot
from hooks.edit import with_weights, without_heads
from hooks.live_model import check_live
from hooks.models import parameters_of, restore
from hooks.models.states import check_tensor
from tests.planted import SIZES, random_model, tiny_config, tokens_as_examples

EXAMPLES = tokens_as_examples(torch.cartesian_prod(torch.arange(7), torch.arange(7)))
CHANGED = "of the live model was changed since this snapshot was made"
HOOKED = r"the model carries a hook at .* that is no edit"


def series_of(model):
    return Series.of(model, {0: parameters_of(random_model())}, EXAMPLES)


def snapshot_of(model):
    return Snapshot.of(model, EXAMPLES)


DOORS = pytest.mark.parametrize("door", [series_of, snapshot_of])


def trained(model):
    """One update."""
    optimizer = torch.optim.AdamW([value for _, value in model.named_parameters()])
    model(EXAMPLES.tokens).square().sum().backward()
    optimizer.step()


def loaded(model):
    other: Any = random_model(seed=1)
    model.load_state_dict(other.state_dict())


def assigned(model):
    model.embed.W_E = torch.nn.Parameter(torch.zeros(8, 8, dtype=torch.float64))


def swapped(model):
    model.embed.W_E.data = torch.zeros(8, 8, dtype=torch.float64)


CHANGES = pytest.mark.parametrize("change", [trained, loaded, assigned, swapped])
READS = {
    "logits": lambda snapshot: snapshot.logits(),
    "cache": lambda snapshot: snapshot.cache("hook_embed"),
    "weights": lambda snapshot: snapshot.weights("W_E"),
    "running": lambda snapshot: snapshot.running().__enter__(),
}


@CHANGES
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_snapshot_of_a_model_that_was_changed_since_answers_nothing(snapshot, change, read):
    snapshot.logits()
    snapshot.cache("hook_embed")
    change(snapshot.live.model)
    with pytest.raises(ValueError, match=CHANGED):
        read(snapshot)


def test_a_new_snapshot_of_a_changed_model_has_its_logits(snapshot):
    before = snapshot.logits()
    trained(snapshot.live.model)
    again = Snapshot.of(snapshot.live.model, snapshot.examples)
    assert (again.logits() - before).abs().max() > 1e-3


def test_a_model_that_is_changed_while_it_runs_is_noticed(snapshot):
    snapshot.logits()
    with snapshot.running() as model:
        trained(model)
        with pytest.raises(ValueError, match=CHANGED):
            snapshot.logits()


def test_edits_are_no_change(snapshot):
    before = snapshot.logits().clone()
    ones = with_weights({"embed.W_E": torch.ones(8, 8)})
    snapshot.edited(ones, without_heads(0, [1])).logits()
    assert torch.equal(snapshot.logits(), before)
    assert torch.equal(snapshot.on(snapshot.examples).logits(), before)


def test_an_edit_leaves_the_models_own_memory_alone(snapshot):
    own = parameters_of(snapshot.live.model)["embed.W_E"]
    before = own.clone()
    with snapshot.edited(with_weights({"embed.W_E": torch.ones(8, 8)})).running():
        assert torch.equal(own, before)


def test_what_is_written_to_an_edited_parameter_does_not_reach_what_the_edit_gave(snapshot):
    ones = torch.ones(8, 8, dtype=torch.float64)
    with snapshot.edited(with_weights({"embed.W_E": ones})).running() as model:
        parameters_of(model)["embed.W_E"].zero_()
    assert (ones == 1).all()


def doubling(value, hook):
    return 2 * value


def hooked(model):
    model.add_hook("hook_embed", doubling)


def hooked_for_good(model):
    model.add_hook("hook_embed", doubling, is_permanent=True)


def hooked_backwards(model):
    model.add_hook("hook_embed", lambda gradient, hook: (2 * gradient,), dir="bwd")


def hooked_by_torch(model):
    model.blocks[0].attn.register_forward_hook(lambda module, given, out: 2 * out)


HOOKS = pytest.mark.parametrize(
    "hook", [hooked, hooked_for_good, hooked_backwards, hooked_by_torch]
)


@HOOKS
@DOORS
def test_a_model_with_hooks_of_its_own_is_refused(door, hook):
    model = random_model()
    hook(model)
    with pytest.raises(ValueError, match=HOOKED):
        door(model)


@HOOKS
def test_a_hook_that_comes_later_is_refused(snapshot, hook):
    snapshot.logits()
    hook(snapshot.live.model)
    with pytest.raises(ValueError, match=HOOKED):
        snapshot.logits()


def test_the_way_out_that_the_refusal_names_works(snapshot):
    model, before = snapshot.live.model, snapshot.logits()
    hooked_for_good(model)
    model.reset_hooks(including_permanent=True)
    assert torch.equal(snapshot.logits(), before)
    found = snapshot.edited(Edit(hooks={"hook_embed": doubling})).cache("hook_embed")
    assert torch.equal(found["hook_embed"], 2 * snapshot.cache("hook_embed")["hook_embed"])


def test_what_a_hook_gave_while_the_model_ran_is_not_remembered(snapshot):
    with (
        snapshot.running() as model,
        model.hooks(fwd_hooks=[("hook_embed", doubling)]),
        pytest.raises(ValueError, match=HOOKED),
    ):
        snapshot.logits()


# The doors themselves refuse these by their annotations, which are checked in tests alone.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler itself
def test_a_compiled_model_is_refused_with_the_one_inside():
    with pytest.raises(ValueError, match=r"torch\.compile's wrapper: .* model\._orig_mod"):
        check_live(torch.compile(random_model()))  # pyright: ignore[reportArgumentType,reportCallIssue]  # a module


def test_a_parallel_model_is_refused_with_the_one_inside():
    with pytest.raises(ValueError, match=r"DataParallel's wrapper: .* model\.module"):
        check_live(torch.nn.DataParallel(random_model()))  # pyright: ignore[reportArgumentType]  # a module


def test_a_model_without_hook_points_is_refused():
    with pytest.raises(TypeError, match=r"a model with hook points is wanted.*got Linear"):
        check_live(torch.nn.Linear(2, 2))


@DOORS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_refused(door, dtype):
    with pytest.raises(ValueError, match=rf"embed\.W_E holds {dtype}: take the model in float32"):
        door(random_model().to(dtype))  # pyright: ignore[reportAttributeAccessIssue]  # a module


def test_each_module_gets_its_own_mode_back(snapshot):
    modules = dict(snapshot.live.model.named_modules())
    snapshot.live.model.train(True)
    modules["blocks.0"].train(False)
    before = {name: module.training for name, module in modules.items()}
    snapshot.logits()
    assert {name: module.training for name, module in modules.items()} == before
    assert set(before.values()) == {True, False}


def test_a_model_whose_code_does_more_than_its_config_says_is_refused_as_a_series():
    model: Any = random_model()
    forward = model.blocks[0].mlp.forward
    model.blocks[0].mlp.forward = lambda value: 2 * forward(value)
    with pytest.raises(ValueError, match=r"gives logits that differ by .* use Snapshot.of"):
        series_of(model)


def spoiled(value):
    """The parameters of a model with another unembedding."""
    return parameters_of(random_model()) | {"unembed.W_U": value}


W_U = parameters_of(random_model())["unembed.W_U"]
STATES = {
    "sparse": (W_U.to_sparse(), "unembed.W_U is sparse"),
    "nested": (torch.nested.nested_tensor(list(W_U), layout=torch.jagged), "unembed.W_U is nested"),
    "meta": (W_U.to("meta"), "unembed.W_U is on the meta device"),
    "complex": (W_U.to(torch.complex64), "unembed.W_U holds torch.complex64"),
    "integer": (W_U.long(), "unembed.W_U holds torch.int64"),
    "half": (W_U.half(), "unembed.W_U holds torch.float16"),
}


@pytest.mark.parametrize(("value", "message"), STATES.values(), ids=STATES.keys())
def test_a_state_of_tensors_that_hold_no_floats_is_refused_with_its_step(value, message):
    series = Series.of(random_model(), {0: spoiled(W_U), 7: spoiled(value)}, EXAMPLES)
    with pytest.raises(ValueError, match=f"checkpoint of step 7: parameter {message}"):
        series.snapshot(7, EXAMPLES)
    with pytest.raises(ValueError, match=f"checkpoint of step 7: parameter {message}"):
        series.weights("W_U")


def test_a_state_that_holds_no_tensors_is_refused():
    with pytest.raises(TypeError, match=r"parameter embed\.W_E is a ndarray: give tensors"):
        check_tensor("embed.W_E", W_U.numpy())


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_the_names_that_wrappers_give_are_refused_with_the_remedy(prefix):
    state = {prefix + name: value for name, value in parameters_of(random_model()).items()}
    series = Series.of(random_model(), {0: state}, EXAMPLES)
    message = rf"take the prefix '{prefix}' off all names"
    with pytest.raises(ValueError, match=message):
        series.snapshot(0, EXAMPLES)
    with pytest.raises(ValueError, match=message):
        series.weights("W_U")
    with pytest.raises(ValueError, match=message):
        restore(tiny_config(), SIZES, state)


def test_a_state_of_two_types_is_kept_in_the_wider_one():
    state = parameters_of(random_model())
    first = {"embed.W_E": state.pop("embed.W_E").float()} | state
    held = parameters_of(restore(tiny_config(), SIZES, first))
    assert torch.equal(held["unembed.W_U"], state["unembed.W_U"])
