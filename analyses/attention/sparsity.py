"""How sparse is attention? Entropy of attention patterns, by layer and head.

The entropy of a query's weights over the keys it sees is 0 where one key takes all and log k where
k keys have equal weights. The headline is minus its mean over all patterns: higher is sparser.

Source: Murty et al. 2023 (arXiv:2305.18741), section 4: minus the mean entropy of all attention
distributions, over sentences without what follows them. Their released code differs (heads averaged
first, sum over positions, one layer's input for all); this follows the paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.findings import Finding
from analyses.plots import bars, heatmap
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.trees.sentences import sentences_only
from hooks import Snapshot
from hooks.stream import stream

LEAST_CHANGE = 0.1  # of the untrained model's number of keys: less is no change
Over = Literal["sentences", "examples"]


@dataclass(frozen=True, eq=False)
class AttentionSparsity(Result):
    """Sparsity of attention by layer and head, averaged over examples and query positions.

    A row of the table is a head.

    Attributes:
        entropy: Mean entropy in nats.
        effective_keys: Mean of exp(entropy): how many keys of equal weight have that entropy.
        largest_weight: Mean of the largest weight.
        key_weight: Mean weight on each key position from the last query position.
        counts_single_key_rows: Whether rows that see one key, whose entropy is 0, are counted.
        over: What the model read: `sentences`, or whole `examples`.
    """

    needs: ClassVar = Needs(attention=True, shares=True)
    sliding: ClassVar = ("entropy", "last_query")

    entropy: Float[np.ndarray, "layer head"]
    effective_keys: Float[np.ndarray, "layer head"]
    largest_weight: Float[np.ndarray, "layer head"]
    key_weight: Float[np.ndarray, "layer head key"]
    counts_single_key_rows: bool
    over: str

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, single_key_rows: bool = True, over: Over = "sentences"
    ) -> "AttentionSparsity":
        """Measures one snapshot on its examples.

        Args:
            snapshot: Any model with attention.
            single_key_rows: Count rows that see a single key, as the paper does.
            over: sentences: only the words that an example's gold trees cover, with what precedes
                them, as in the paper; examples: whole examples, which is also what is taken where
                there are no gold trees.

        Raises:
            ValueError: The model has no attention, or `over` is neither.
        """
        snapshot, fed = fed_over(snapshot, over)
        visible = snapshot.examples.visible
        rows = counted_rows(visible, snapshot.config.attention_dir == "causal", single_key_rows)
        last = visible.sum(1) - 1

        def sums(pattern: Tensor, batch: slice) -> dict[str, Tensor]:
            return pattern_sums(
                pattern.double(), rows[batch].to(pattern.device), last[batch].to(pattern.device)
            )

        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(snapshot.config.n_layers)]
        layers = stream(snapshot, dict.fromkeys(names, sums)).values()
        n_rows = int(rows.sum())
        counts = {
            "entropy": n_rows,
            "effective_keys": n_rows,
            "largest_weight": n_rows,
            "key_weight": len(rows),
        }
        return cls(
            **{
                name: (torch.stack([layer[name] for layer in layers]) / count).cpu().numpy()
                for name, count in counts.items()
            },
            counts_single_key_rows=single_key_rows,
            over=fed,
        )

    @property
    def sparsity(self) -> float:
        """Minus the mean entropy over all layers and heads, in nats."""
        return -float(self.entropy.mean())

    def summary(self) -> dict[str, float | str]:
        """The headline, and the effective number of keys and largest weight over all heads."""
        return {
            "mean_negative_entropy": self.sparsity,
            "mean_effective_keys": float(self.effective_keys.mean()),
            "mean_largest_weight": float(self.largest_weight.mean()),
            "single_key_rows": "counted" if self.counts_single_key_rows else "left out",
            "over": self.over,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Over how many keys attention spreads, beside the untrained model; nothing without it.

        Null where the two differ by less than a tenth.
        """
        if not isinstance(untrained, AttentionSparsity):
            return ()
        options = [(each.over, each.counts_single_key_rows) for each in (self, untrained)]
        if options[0] != options[1]:
            return ()
        keys, before = (float(each.effective_keys.mean()) for each in (self, untrained))
        text = f"A head attends to {keys:.3g} keys on average (untrained model: {before:.3g}), "
        text += f"with an entropy of {-self.sparsity:.2f} nats ({-untrained.sparsity:.2f})"
        is_found = abs(keys - before) > LEAST_CHANGE * before
        return (Finding(text, "found" if is_found else "null", "entropy"),)

    def figures(self) -> Mapping[str, Drawing]:
        """Entropy of each head, and where the last position looks."""
        n_layers, n_heads = self.entropy.shape
        heads = [f"{layer}.{head}" for layer in range(n_layers) for head in range(n_heads)]
        return {
            "entropy": bars(
                [f"head {head}" for head in range(n_heads)],
                {f"layer {layer}": self.entropy[layer] for layer in range(n_layers)},
                title=f"Attention entropy {-self.sparsity:.2f} nats on average "
                f"(rows with a single key {self.summary()['single_key_rows']})",
                axes=("", "mean entropy (nats)"),
            ),
            "last_query": heatmap(
                self.key_weight.reshape(len(heads), -1),
                limits=(0, 1),
                ticks=([str(key) for key in range(self.key_weight.shape[-1])], heads),
                title="Where the last position looks",
                axes=("key position", "layer.head"),
                unit="mean attention weight",
            ),
        }


def fed_over(snapshot: Snapshot, over: str) -> tuple[Snapshot, str]:
    """The snapshot on what its model is to read, and which of the two that is.

    Raises:
        ValueError: `over` is neither of the two.
    """
    if over not in get_args(Over):
        raise ValueError(f"over '{over}': take one of {', '.join(get_args(Over))}")
    if over == "examples" or not snapshot.examples.trees:
        return snapshot, "examples"
    return snapshot.on(sentences_only(snapshot.examples)), "sentences"


def pattern_entropy(pattern: Float[Tensor, "*rows key"]) -> Float[Tensor, "*rows"]:
    """Entropy of each row of attention weights, in nats; weights of 0 add nothing."""
    return torch.special.entr(pattern).sum(-1)


def counted_rows(
    visible: Bool[Tensor, "batch pos"], is_causal: bool, single_key_rows: bool
) -> Bool[Tensor, "batch pos"]:
    """Which query positions count: no padding, and by choice only those that see several keys."""
    keys = visible.cumsum(1) if is_causal else visible.sum(1, keepdim=True).expand_as(visible)
    return visible & (keys >= (1 if single_key_rows else 2))


def pattern_sums(
    pattern: Float[Tensor, "batch head query key"],
    rows: Bool[Tensor, "batch query"],
    last: Int[Tensor, " batch"],
) -> dict[str, Tensor]:
    """Sums over a batch, by head: over counted rows, and of the last position's weights.

    Args:
        pattern: Attention weights.
        rows: Which query positions count.
        last: Each example's last real position.
    """
    entropy, is_counted = pattern_entropy(pattern), rows[:, None]
    return {
        "entropy": (entropy * is_counted).sum((0, 2)),
        "effective_keys": (entropy.exp() * is_counted).sum((0, 2)),
        "largest_weight": (pattern.amax(-1) * is_counted).sum((0, 2)),
        "key_weight": pattern[torch.arange(len(pattern)), :, last].sum(0),
    }
