"""What a model says when it goes on by itself: greedy decoding, in batches.

Rows of one length go together, so that nothing is padded. Where the model can keep the keys and
values of what it has read, each further token costs one position; otherwise, and under edits with
hooks (which may ask for all positions), everything is read again each time.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.models import HookedModel
from hooks.snapshot import TOKENS_PER_BATCH, Snapshot
from hooks.transformer.past_keys import past_keys


def greedy(
    snapshot: Snapshot,
    prompts: Int[Tensor, "batch pos"],
    lengths: Int[Tensor, " batch"],
    *,
    count: int,
    stop: int,
) -> list[list[int]]:
    """The tokens with which a model continues each prompt, always the most probable one.

    Args:
        snapshot: The model; its examples do not matter.
        prompts: The prompts, padded on the right.
        lengths: Number of real tokens of each prompt, at least one.
        count: The most new tokens of a prompt; there are fewer if the model runs out of positions.
        stop: The token that ends a continuation; it is not part of it.

    Raises:
        ValueError: A prompt is empty or longer than the model's `n_ctx`, or the snapshot's edits go
            by the rows of its examples.
    """
    if any(edit.row_hooks for edit in snapshot.edits):
        raise ValueError(
            "this snapshot's edits go by the rows of its examples, and prompts are others: decode "
            "with edits that have no row hooks"
        )
    n_ctx = snapshot.live.model.cfg.n_ctx
    if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= n_ctx:
        raise ValueError(
            f"lengths {int(lengths.min())} to {int(lengths.max())} of prompts: give 1 to {n_ctx} "
            "tokens, the model's n_ctx"
        )
    continuations: list[list[int]] = [[] for _ in range(len(prompts))]
    with snapshot.running() as model, torch.no_grad():
        keeps_keys = not any(edit.hook_names for edit in snapshot.edits)
        for rows, length in _groups(lengths):
            start = prompts[rows, :length].to(snapshot.live.device)
            past = past_keys(model, len(rows), start.device) if keeps_keys else None
            new = _continued(model, start, past, min(count, n_ctx - length + 1), stop)
            for row, tokens in zip(rows.tolist(), new.tolist(), strict=True):
                continuations[row] = tokens[: tokens.index(stop)] if stop in tokens else tokens
    return continuations


def _groups(lengths: Int[Tensor, " batch"]) -> Iterator[tuple[Tensor, int]]:
    """Batches of rows that have the same length, each with that length."""
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0].cpu()
        for batch in rows.split(max(1, TOKENS_PER_BATCH // length)):
            yield batch, length


def _continued(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], past: Any | None, count: int, stop: int
) -> Int[Tensor, "batch new"]:
    """The new tokens of a batch of rows, up to the step at which all rows have stopped."""
    start = tokens.shape[1]
    has_stopped = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(count):
        best = _last_logits(model, tokens, past).argmax(-1)
        tokens = torch.cat([tokens, best[:, None]], dim=1)
        has_stopped |= best == stop
        if has_stopped.all():
            break
    return tokens[:, start:]


def _last_logits(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], past: Any | None
) -> Float[Tensor, "batch d_vocab_out"]:
    """Logits of the next token; with a cache, the model reads only the new ones of `tokens`."""
    if past is None:
        return model(tokens)[:, -1]
    new = tokens[:, past[0].past_keys.shape[1] :]
    return model(new, past_kv_cache=past)[:, -1]
