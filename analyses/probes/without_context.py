"""What is the residual stream of a prompt's last query with its context, and without?

With h(q; C) the stream of query q after context C, its weights component w(q) is what the weights
alone make of q, and the context component the rest, h(q; C) - w(q). There are three ways to take
the context away, which differ:

    identity   each attention layer hands on its own input (after its layer norm)
    alone      the query is a prompt of one position, the first
    zeroed     attention layers write nothing

Source: Fu et al. 2024 (arXiv:2309.06054), whose code takes `identity`; it adds a copy of the
normalised stream to the stream, which is no function that the model ever computes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.probes.inputs import activations
from hooks import Examples, Snapshot
from hooks.edit import Edit, Hook

FORMS = ("identity", "alone", "zeroed")

States = dict[str, Float[Tensor, "batch query feature"]]


def query_places(examples: Examples) -> Int[Tensor, "batch query"]:
    """The position of each prompt's last answer, where its query stands.

    Raises:
        ValueError: A prompt is scored nowhere.
    """
    if not bool(examples.scored.any(1).all()):
        raise ValueError("scored: each prompt needs an answer that counts")
    return examples.last_scored.cpu()[:, None]


def query_only(examples: Examples) -> Examples:
    """The last query of each prompt, as a prompt of one position."""
    places, rows = query_places(examples)[:, 0], torch.arange(len(examples))
    fed = examples.model_inputs[rows, places][:, None]
    return Examples(
        targets=examples.targets[rows, places][:, None],
        scored=examples.scored[rows, places][:, None],
        tokens=None if examples.tokens is None else fed,
        inputs=None if examples.inputs is None else fed,
        labels={name: values for name, values in examples.labels.items() if values.ndim == 1},
        facts=examples.facts,
    )


def states_in_context(snapshot: Snapshot, sites: Sequence[str]) -> States:
    """h(q; C) at each site."""
    return activations(snapshot, sites, query_places(snapshot.examples))


def states_without_context(snapshot: Snapshot, sites: Sequence[str], form: str) -> States:
    """w(q) at each site, in one of the three forms.

    Raises:
        ValueError: There is no such form.
    """
    if form not in FORMS:
        raise ValueError(f"form '{form}' is unknown; there are {', '.join(FORMS)}")
    if form == "alone":
        single = query_only(snapshot.examples)
        return activations(snapshot.on(single), sites, torch.zeros(len(single), 1).long())
    return states_in_context(
        snapshot.edited(
            zeroed_attention(snapshot) if form == "zeroed" else identity_attention(snapshot)
        ),
        sites,
    )


def zeroed_attention(snapshot: Snapshot) -> Edit:
    """Attention layers write nothing."""
    return Edit(
        hooks={
            f"blocks.{layer}.hook_attn_out": lambda activation, hook: torch.zeros_like(activation)
            for layer in range(snapshot.config.n_layers)
        }
    )


def identity_attention(snapshot: Snapshot) -> Edit:
    """Attention layers write what they read: the stream after the layer norm that is before them.

    Where no layer norm is before them, they write the stream itself.
    """
    by_layer = [_identity(snapshot, layer) for layer in range(snapshot.config.n_layers)]
    return Edit(hooks={name: hook for hooks in by_layer for name, hook in hooks.items()})


def _identity(snapshot: Snapshot, layer: int) -> dict[str, Hook]:
    """Hooks that keep what a layer's attention reads, and write it in its place."""
    block, parameters = f"blocks.{layer}", snapshot.parameters()
    has_norm = getattr(snapshot.config, "normalization_type", None) is not None
    scale, shift = (parameters.get(f"{block}.ln1.{name}") for name in "wb")
    inputs: list[Tensor] = []

    def keep(activation: Tensor, hook: Any) -> Tensor:
        inputs[:] = [activation]
        return activation

    def write(activation: Tensor, hook: Any) -> Tensor:
        if not has_norm or scale is None:
            return inputs[0]
        return inputs[0] * scale if shift is None else inputs[0] * scale + shift

    reads = f"{block}.ln1.hook_normalized" if has_norm else f"{block}.hook_resid_pre"
    return {reads: keep, f"{block}.hook_attn_out": write}
