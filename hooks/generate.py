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

from hooks.models import HookedModel, parameters_of
from hooks.models.past_keys import past_keys
from hooks.snapshot import TOKENS_PER_BATCH, Snapshot


def greedy(
    snapshot: Snapshot,
    prompts: Int[Tensor, "batch pos"],
    lengths: Int[Tensor, " batch"],
    *,
    count: int,
    stop: int,
) -> list[list[int]]:
    """The tokens a model goes on with, the most probable one each time.

    Args:
        snapshot: The model; its examples do not matter.
        prompts: What it goes on from, padded on the right.
        lengths: Real tokens of each prompt, at least one.
        count: At most so many new tokens; fewer where the model has no more positions.
        stop: The token that ends what is said; it is left out of it.

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
    said: list[list[int]] = [[] for _ in range(len(prompts))]
    with snapshot.running() as model, torch.no_grad():
        device = next(iter(parameters_of(model).values())).device
        keeps_keys = not any(edit.hook_names for edit in snapshot.edits)
        for rows, length in _groups(lengths):
            start = prompts[rows, :length].to(device)
            past = past_keys(model, len(rows), device) if keeps_keys else None
            new = _continued(model, start, past, min(count, n_ctx - length + 1), stop)
            for row, tokens in zip(rows.tolist(), new.tolist(), strict=True):
                said[row] = tokens[: tokens.index(stop)] if stop in tokens else tokens
    return said


def _groups(lengths: Int[Tensor, " batch"]) -> Iterator[tuple[Tensor, int]]:
    """Rows of one length, not too many at a time."""
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0].cpu()
        for batch in rows.split(max(1, TOKENS_PER_BATCH // length)):
            yield batch, length


def _continued(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], past: Any | None, count: int, stop: int
) -> Int[Tensor, "batch new"]:
    """The new tokens of some rows, until all have stopped."""
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
    """Logits of the next token; with a cache, only what is new in `tokens` is read."""
    if past is None:
        return model(tokens)[:, -1]
    new = tokens[:, past[0].past_keys.shape[1] :]
    return model(new, past_kv_cache=past, attention_mask=torch.ones_like(new))[:, -1]
