"""Answers with a part of the last block replaced, without running the blocks before it again.

Behind the last block's attention, positions no longer see each other: what stands at a scored
position decides the answer there. So the last block is run on the scored positions alone, as
sequences of one position, and what its heads give is put in. Exact, whatever the norms and the
kind of block; a few times cheaper than a pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.snapshot import TOKENS_PER_BATCH, Snapshot


def has_last_block(snapshot: Snapshot) -> bool:
    """Whether `LastBlock` can be made: of a HookedTransformer without edits."""
    return hasattr(snapshot.live.model.cfg, "norm_position") and not snapshot.edits


@dataclass(eq=False)
class LastBlock:
    """The last block at the scored positions, in the order of `examples.scored`, row by row.

    Attributes:
        snapshot: A HookedTransformer and its examples, without edits.
        z: The hook point of what its heads read, before W_O.
    """

    snapshot: Snapshot
    z: str = field(init=False)

    def __post_init__(self) -> None:
        if not has_last_block(self.snapshot):
            raise ValueError(
                "the last block is run apart of an unedited HookedTransformer only: run the whole "
                "model (snapshot.edited)"
            )
        last = f"blocks.{self.snapshot.live.model.cfg.n_layers - 1}"
        self.z = f"{last}.attn.hook_z"
        cached = self.snapshot.cache([f"{last}.hook_resid_pre", self.z])
        self._resid_pre, self._z = map(self.at_answers, cached.values())

    def at_answers(self, activation: Float[Tensor, "batch pos ..."]) -> Tensor:
        """An activation at the scored positions, `[answer, 1, ...]`."""
        scored = self.snapshot.examples.scored.cpu()
        return activation[:, -scored.shape[1] :][scored][:, None]

    def logits(self, replaced: Mapping[str, Tensor]) -> Float[Tensor, "answer d_vocab_out"]:
        """Logits with activations of the last block replaced.

        Args:
            replaced: By hook point of the last block, from `attn.hook_z` on, an activation
                `[answer, 1, ...]`.
        """
        replaced = {self.z: self._z} | dict(replaced)
        batches = torch.arange(len(self._z)).split(TOKENS_PER_BATCH)
        logits = torch.cat([self._of_rows(replaced, rows) for rows in batches])
        return logits[:, : self.snapshot.examples.facts.outputs]

    def _of_rows(self, replaced: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Logits of some of the scored positions, by number."""

        def put(activation: Tensor, hook: Any) -> Tensor:
            return replaced[hook.name][rows].to(activation)

        hooks, device = [(name, put) for name in replaced], self.snapshot.live.device
        stream, cfg = self._resid_pre[rows].to(device), self.snapshot.live.model.cfg
        # Positions beside the stream change queries and keys alone, which nothing is made of here.
        is_beside = cfg.positional_embedding_type == "shortformer"
        beside = {"shortformer_pos_embed": torch.zeros_like(stream)} if is_beside else {}
        with self.snapshot.running() as model, torch.no_grad(), model.hooks(fwd_hooks=hooks):
            return model(stream, start_at_layer=cfg.n_layers - 1, **beside)[:, 0].cpu()
