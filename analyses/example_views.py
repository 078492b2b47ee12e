"""What does the model do on single examples? Attention patterns, and tokens coloured by loss.

The first examples of a snapshot, kept with everything CircuitsVis needs to draw them, so that a
page is drawn from a saved result and never runs a model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from analyses import plots
from analyses.result import Drawing, Result, check_needs
from analyses.views import View
from hooks import Snapshot
from hooks.loss import token_losses

LONGEST = 64  # tokens that CircuitsVis draws smoothly; beyond, a heat map stands in
COUNT = 8  # examples that are kept


@dataclass(frozen=True, eq=False)
class ExampleViews(Result):
    """Attention and loss on a few examples.

    Attributes:
        words: Each example's positions for people to read.
        pattern: Attention weights.
        loss: Cross-entropy in nats at scored positions, NaN elsewhere.
        answers: What the model answers at its last scored position, as a class number.
        targets: The right class there.
        guess_loss: Loss of guessing all classes alike, in nats.
        is_causal: Whether positions attend only to themselves and earlier ones.
    """

    needs: ClassVar = ("tokens", "attention")
    count: ClassVar = COUNT

    words: tuple[tuple[str, ...], ...]
    pattern: Float[np.ndarray, "example layer head query key"]
    loss: Float[np.ndarray, "example pos"]
    answers: tuple[int, ...]
    targets: tuple[int, ...]
    guess_loss: float
    is_causal: bool

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, reference: "ExampleViews | None" = None
    ) -> "ExampleViews":
        """Keeps the first 8 examples of a snapshot.

        Args:
            snapshot: A model with attention on tokens.
            reference: Not used.
        """
        check_needs(cls, snapshot)
        snapshot = snapshot.on(snapshot.examples.head(COUNT))
        examples = snapshot.examples
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(snapshot.config.n_layers)]
        logits = snapshot.logits().double().cpu()
        losses = token_losses(logits, examples.targets.long())
        rows = torch.arange(len(examples))
        last = examples.scored.shape[1] - 1 - examples.scored.flip(1).int().argmax(1)
        return cls(
            words=examples.words or _numbers(examples.tokens),
            pattern=torch.stack(list(snapshot.cache(names).values()), dim=1).float().cpu().numpy(),
            loss=torch.where(examples.scored, losses, torch.nan).numpy(),
            answers=tuple(logits[rows, last].argmax(-1).tolist()),
            targets=tuple(examples.targets[rows, last].tolist()),
            guess_loss=math.log(logits.shape[-1]),
            is_causal=snapshot.config.attention_dir == "causal",
        )

    def summary(self) -> dict[str, float | str]:
        """Mean loss over these examples, and how many are answered right."""
        right = [a == t for a, t in zip(self.answers, self.targets, strict=True)]
        return {"mean_loss": float(np.nanmean(self.loss)), "accuracy": float(np.mean(right))}

    def to_frame(self) -> pd.DataFrame:
        """One row a position: `example`, `position`, `word`, `loss`."""
        rows = [
            {"example": i, "position": j, "word": word, "loss": self.loss[i, j]}
            for i, sentence in enumerate(self.words)
            for j, word in enumerate(sentence)
        ]
        return pd.DataFrame(rows)

    def figures(self) -> Mapping[str, Drawing]:
        """Tokens coloured by loss, and each example's attention."""
        attention = {f"attention_{i}": self._attention(i) for i in range(len(self.words))}
        return {"tokens": self._tokens(), **attention}

    def _tokens(self) -> View:
        """Each example, then the answer given at its last position, which carries that loss."""
        lines, values = [], []
        for sentence, losses, answer in zip(self.words, self.loss, self.answers, strict=True):
            lines += [*sentence, str(answer), "│"]
            values += [*np.nan_to_num(losses[: len(sentence)]).tolist()[:-1], 0.0]
            values += [float(losses[len(sentence) - 1]), 0.0]
        return View(
            "ColoredTokens",
            {
                "tokens": [f"{word} " for word in lines],
                "values": values,
                "minValue": 0,
                "maxValue": self.guess_loss,
            },
            title="Answers given, coloured by loss",
            caption=f"White: no loss. Full blue: {self.guess_loss:.2f} nats, as bad as guessing.",
        )

    def _attention(self, example: int) -> Drawing:
        sentence = self.words[example]
        size = len(sentence)
        patterns = self.pattern[example, :, :, :size, :size]
        layers, heads = patterns.shape[:2]
        names = [f"{layer}.{head}" for layer in range(layers) for head in range(heads)]
        title = f"Attention on “{' '.join(sentence)}”"
        if size > LONGEST:
            return plots.heatmap(
                patterns.mean((0, 1)), title=f"{title[:80]}: mean over heads", limits=(0, 1),
                axes=("key position", "query position"), unit="attention weight",
            )  # fmt: skip
        return View(
            "AttentionHeads",
            {
                "tokens": list(sentence),
                "attention": patterns.reshape(-1, size, size).tolist(),
                "attentionHeadNames": names,
                "maskUpperTri": self.is_causal,
            },
            title=title,
            caption="One matrix a head (layer.head): a row is a query, a column a key.",
        )


def _numbers(tokens: torch.Tensor | None) -> tuple[tuple[str, ...], ...]:
    assert tokens is not None  # `needs` has tokens
    return tuple(tuple(map(str, row)) for row in tokens.tolist())
