from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from analyses.probes.without_context import (
    FORMS,
    identity_attention,
    query_only,
    query_places,
    states_in_context,
    states_without_context,
)
from hooks import Snapshot, build
from hooks.models import ReadInConfig
from interp.tasks.factors.factor_labels import FactorLabels
from tests.planted import SIZES, random_model, tokens_as_examples

TASK = FactorLabels.model_validate(
    {"factors": {"hue": 4, "shape": 3}, "pairs": 3, "d": 8, "held_out": 0, "test_prompts": 20}
)
SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]


def snapshot_of(**options):
    """An untrained model of two layers, its layer norms' weights drawn at random."""
    config = ReadInConfig.model_validate({"n_layers": 2, "d_model": 8, "n_heads": 2} | options)
    model = build(config, TASK.sizes, seed=0, dtype="float64")
    drawing = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=drawing)
    return Snapshot.of(model, TASK.examples("test", None, 0))


def test_a_prompts_query_is_its_last_scored_position():
    examples = TASK.examples("test", None, 0)
    assert query_places(examples).tolist() == [[4]] * 20
    scored = examples.scored.clone()
    scored[3, 4] = False
    assert query_places(replace(examples, scored=scored))[3].tolist() == [2]


def test_a_query_alone_keeps_its_answer_and_labels():
    examples = TASK.examples("test", None, 0)
    single = query_only(examples)
    assert torch.equal(single.model_inputs[:, 0], examples.model_inputs[:, 4])
    assert torch.equal(single.targets[:, 0], examples.targets[:, 4])
    assert torch.equal(single.label("hue"), examples.label("hue"))


@pytest.mark.parametrize("form", FORMS)
def test_without_context_other_positions_do_not_matter(form):
    snapshot = snapshot_of()
    inputs = snapshot.examples.model_inputs.clone()
    inputs[:, :4] = 5.0
    others = snapshot.on(replace(snapshot.examples, inputs=inputs))
    assert not torch.equal(
        *(states_in_context(each, SITES)[SITES[1]] for each in (snapshot, others))
    )
    one, two = (states_without_context(each, SITES, form) for each in (snapshot, others))
    assert all(torch.equal(one[site], two[site]) for site in SITES)


def test_alone_is_a_prompt_of_one_position():
    snapshot = snapshot_of()
    inputs = snapshot.examples.model_inputs[:, 4:5]
    with snapshot.running() as model:
        stream = model(inputs, stop_at_layer=1)
    assert_close(states_without_context(snapshot, SITES, "alone")[SITES[0]], stream)


@pytest.mark.parametrize("norm", ["LN", "LNPre", None])
def test_identity_writes_what_attention_reads(norm):
    snapshot = snapshot_of(normalization_type=norm)
    names = ["blocks.0.attn.hook_v", "blocks.0.hook_attn_out", "blocks.0.hook_resid_pre"]
    found = snapshot.edited(identity_attention(snapshot)).cache(names)
    written = found["blocks.0.hook_attn_out"]
    weights, bias = (snapshot.weights(f"blocks.0.attn.{name}_V") for name in "Wb")
    # What attention reads is what its values are made of.
    values = torch.einsum("bpd,hde->bphe", written, weights) + bias
    assert_close(values, found["blocks.0.attn.hook_v"])
    assert torch.equal(written, found["blocks.0.hook_resid_pre"]) == (norm is None)


def test_zeroed_leaves_the_stream_to_the_mlp():
    snapshot = snapshot_of(attn_only=True)
    stream = snapshot.cache(["blocks.0.hook_resid_pre"])["blocks.0.hook_resid_pre"]
    found = states_without_context(snapshot, SITES, "zeroed")
    assert all(torch.equal(found[site], stream[:, 4:5]) for site in SITES)


def test_the_model_is_left_as_it_was():
    snapshot = snapshot_of()
    before = states_in_context(snapshot, SITES)
    states_without_context(snapshot, SITES, "identity")
    assert torch.equal(states_in_context(snapshot, SITES)[SITES[1]], before[SITES[1]])


def test_tokens_are_queries_too():
    tokens = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))
    snapshot = Snapshot.of(random_model(SIZES), tokens_as_examples(tokens))
    found = states_without_context(snapshot, SITES[:1], "alone")[SITES[0]]
    assert_close(found, found[:1].expand_as(found))  # all ask at "="


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form 'cut' is unknown; there are identity"):
        states_without_context(snapshot_of(), SITES, "cut")


def test_a_prompt_without_an_answer_is_refused():
    examples = TASK.examples("test", None, 0)
    nowhere = replace(
        examples,
        scored=torch.zeros_like(examples.scored),
        targets=torch.zeros_like(examples.targets),
    )
    with pytest.raises(ValueError, match="each prompt needs an answer"):
        query_places(nowhere)
