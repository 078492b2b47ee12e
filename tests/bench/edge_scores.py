"""Every edge of the fixture corrupted, against hooks on TransformerLens 3.9, an edge at a time."""

from typing import Any

import torch
from einops import einsum
from torch import Tensor
from torch.testing import assert_close

import interp
from hooks import to_transformer_lens
from hooks.circuits.graph import EMBEDDED, EdgeRuns
from tests.bench import Comparison, interleaved
from tests.modular_pairs import drawn_pairs, in_double

LAYER = "blocks.0"


def compare() -> Comparison:
    """23 edges of the trained fixture, 256 pairs in float64."""
    run = interp.load("fixtures/modular-addition")
    snapshot, pairs = in_double(run, 975), drawn_pairs(run, 256)
    model: Any = snapshot.live.model
    theirs = to_transformer_lens(model)
    theirs.cfg.use_split_qkv_input = theirs.cfg.use_hook_mlp_in = True
    clean, corrupted = pairs.clean.tokens, pairs.corrupted.tokens
    edges = EdgeRuns(snapshot, pairs).graph.edges

    def one_by_one() -> Tensor:
        with torch.no_grad():
            _, cache = theirs.run_with_cache(corrupted, return_cache_object=False)
            whole = values(theirs(clean))
            return torch.stack([with_edge(cache, edge) - whole for edge in edges])

    def values(logits: Tensor) -> Tensor:
        return pairs.values("logit_difference", pairs.answers(logits))

    def with_edge(cache: dict[str, Tensor], edge: str) -> Tensor:
        writer, reader = edge.split("->")
        source, head = _output(writer)
        change: list[Tensor] = []

        def note(activation: Tensor, hook: Any) -> None:
            delta = cache[source] - activation
            if head is None:
                change.append(delta)
            else:
                W_O = theirs.blocks[0].attn.W_O[head]
                change.append(einsum(delta[:, :, head], W_O, "row pos h, h d -> row pos d"))

        def add(activation: Tensor, hook: Any) -> Tensor:
            if activation.ndim == 3:
                return activation + change[0]
            activation = activation.clone()
            activation[:, :, int(reader.split(".")[1][1:])] += change[0]
            return activation

        hooks = [(source, note), (_input(reader), add)]
        return values(theirs.run_with_hooks(clean, fwd_hooks=hooks))

    assert_close(EdgeRuns(snapshot, pairs).exact_scores(), one_by_one(), rtol=1e-9, atol=1e-9)
    times = interleaved(one_by_one, lambda: EdgeRuns(snapshot, pairs).exact_scores(), repeats=9)
    return Comparison("23 edges corrupted one by one, 256 pairs", *times, goal=None)


def _output(writer: str) -> tuple[str, int | None]:
    """Where a part's output can be seen, and the head."""
    if writer == "embed":
        return EMBEDDED, None
    if writer == "0.mlp":
        return f"{LAYER}.hook_mlp_out", None
    return f"{LAYER}.attn.hook_z", int(writer.split(".")[1][1:])


def _input(reader: str) -> str:
    """Where what a part reads can be changed."""
    if reader == "logits":
        return f"{LAYER}.hook_resid_post"
    if reader == "0.mlp":
        return f"{LAYER}.hook_mlp_in"
    return f"{LAYER}.hook_{reader[-1]}_input"
