from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hooks import Examples, Facts, Snapshot
from hooks.examples import token_losses
from hooks.fast.loss import StackedLoss
from hooks.fast.stack import Layout
from hooks.models import parameters_of
from tests.planted import random_model, tiny_config

TOKENS = torch.cartesian_prod(torch.arange(7), torch.arange(7), torch.tensor([7]))


def examples(scored, outputs=None):
    targets = (torch.arange(49)[:, None] + torch.arange(3)) % 5
    scored = torch.tensor(scored).expand(49, 3).clone()
    scored[3] = False  # an example without a scored answer
    return Examples(targets=targets * scored, scored=scored, tokens=TOKENS,
                    facts=Facts(outputs=outputs))  # fmt: skip


SCORED = {"last": [False, False, True], "several": [False, True, True]}
FROZEN = ("blocks.0.mlp.b_in", "unembed.b_U")


def two_models(seen, **options):
    models = [random_model(seed=seed, **options) for seed in (0, 1)]
    states = [parameters_of(model) for model in models]
    layout = Layout({name: tuple(v.shape) for name, v in states[0].items() if name not in FROZEN})
    fixed = {name: torch.stack([state[name] for state in states]).detach() for name in FROZEN}
    loss = StackedLoss.of(models[0], tiny_config(**options), layout, fixed, seen)
    return models, loss, layout.join(states).detach()


def mean_loss(model, seen):
    logits = Snapshot.of(model, seen).logits().double()
    return token_losses(logits, seen.targets)[seen.scored].mean()


@pytest.mark.parametrize("options", [{}, {"n_layers": 2, "normalization_type": "LN"}], ids=str)
@pytest.mark.parametrize("outputs", [None, 6])
@pytest.mark.parametrize("scored", SCORED.values(), ids=SCORED)
def test_the_loss_of_each_point_is_its_models_own(scored, outputs, options):
    seen = examples(scored, outputs)
    models, loss, points = two_models(seen, **options)
    [whole] = loss.parts(2)
    expected = torch.stack([mean_loss(model, seen) for model in models])
    assert_close(whole(points), expected, rtol=1e-10, atol=0)
    assert not torch.allclose(expected[0], expected[1])


def test_further_chains_have_the_fixed_parameters_of_their_point():
    _, loss, points = two_models(examples(SCORED["last"]))
    [whole] = loss.parts(4)
    assert_close(whole(points.repeat(2, 1)), whole(points).repeat(2), rtol=1e-12, atol=0)


def test_parts_of_few_examples_add_up_to_the_loss(monkeypatch):
    _, loss, points = two_models(examples(SCORED["several"]))
    [whole] = loss.parts(2)
    monkeypatch.setattr("hooks.fast.loss.TOKENS_AT_ONCE", 60)
    parts = loss.parts(2)
    assert len(parts) == 5  # of ten examples of three tokens for each of two points
    assert_close(sum(part(points) for part in parts), whole(points), rtol=1e-12, atol=0)


def test_a_minibatch_is_drawn_for_each_chain_with_replacement():
    seen = examples(SCORED["last"])
    models, loss, points = two_models(seen)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    drawn = loss.drawn(points.repeat(2, 1), generators, 200).unflatten(0, (2, 2))
    for chain, seed in enumerate((5, 6)):
        rows = torch.randint(49, (200,), generator=torch.Generator().manual_seed(seed))
        expected = torch.stack([mean_loss(model, seen.at(rows)) for model in models])
        assert_close(drawn[chain], expected, rtol=1e-10, atol=0)


def test_a_minibatch_without_a_scored_answer_has_loss_0():
    seen = examples(SCORED["last"])
    _, loss, points = two_models(
        replace(seen, scored=seen.scored & False, targets=seen.targets * 0)
    )
    assert loss.drawn(points, [torch.Generator()], 4).tolist() == [0, 0]
