"""Chains near 15 checkpoints of the fixture, stacked, against one chain after the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from analyses.circuits.local_learning import _Batches, _Stack, _trained, _training_examples
from hooks import Checkpoints, Examples, to_transformer_lens
from hooks.sgld import Langevin, _noises, sgld
from interp.runs.run import load
from tests.bench import Comparison, interleaved

WALK = Langevin(nbeta=159.9, gamma=100.0, eps=1e-4, chains=2, burn_in=1, draws=2)


def plain_models(series: Checkpoints) -> list[Any]:
    """TransformerLens' model of each step."""
    examples = series.examples(count=1)
    live: list[Any] = [series.snapshot(step, examples).live.model for step in series.steps]
    return [to_transformer_lens(model) for model in live]


def plain_chains(models: Sequence[Any], trained: Sequence[str], examples: Examples) -> Tensor:
    """Losses before each update as anyone would run chains: every position, one after the other."""
    losses = torch.zeros(WALK.burn_in + WALK.draws, WALK.chains, len(models))
    for place, model in enumerate(models):
        points = [value for name, value in model.named_parameters() if name in trained]
        home = [value.detach().clone() for value in points]
        width = torch.zeros(1, sum(value.numel() for value in points))
        for chain in range(WALK.chains):
            for iteration, noise in enumerate(_noises(width, WALK)):
                logits = model(examples.tokens)[:, -1].double()
                loss = cross_entropy(logits, examples.targets[:, -1])
                losses[iteration, chain, place] = loss.detach()
                update(points, home, torch.autograd.grad(loss, points), noise[chain])
            for value, start in zip(points, home, strict=True):
                value.data.copy_(start)
    return losses


@torch.no_grad()
def update(points: list[Any], home: list[Tensor], gradients: Sequence[Any], noise: Tensor) -> None:
    """A step of a chain, parameter by parameter."""
    parts = noise.split([value.numel() for value in points])
    for value, start, gradient, part in zip(points, home, gradients, parts, strict=True):
        drift = WALK.nbeta * gradient + WALK.gamma * (value - start)
        value += -WALK.eps / 2 * drift + WALK.eps**0.5 * part.view_as(value)


def compare() -> Comparison:
    """Both sides in float32 with the loss in float64, three updates of 30 chains."""
    series = load(Path("fixtures/modular-addition")).series()
    examples, models = _training_examples(series, "train"), plain_models(series)
    trained, frozen = _trained(series, None)
    # The noise of a step is one row: both sides must cut it into parameters in one order.
    order = tuple(name for name, _ in models[0].named_parameters() if name in trained)
    stack = _Stack(series, examples, _Batches.of(examples, None, 0), order, frozen)
    groups = [stack.of(steps) for steps in stack.groups(series.steps, WALK.chains)]

    def ours() -> Tensor:
        return torch.cat([sgld(loss, start, WALK).losses for loss, start in groups], 2)

    def plain() -> Tensor:
        return plain_chains(models, trained, examples)

    assert_close(ours().float(), plain(), rtol=1e-4, atol=1e-6)
    times = interleaved(plain, ours, repeats=5)
    return Comparison("Langevin chains near 15 checkpoints, 3 updates of 30", *times, goal=3)
