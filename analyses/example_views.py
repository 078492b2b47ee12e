"""What does the model do on single examples? Attention, neurons, and tokens coloured by loss.

The first examples of a snapshot, kept with everything CircuitsVis needs to draw them, so that a
page is drawn from a saved result and never runs a model. What is kept is what is drawn: attention
to three digits, of as many examples as a page bears, and the few neurons that fire most.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from analyses.pictures import picture
from analyses.result import Drawing, Result, check_needs
from analyses.views import View
from hooks import Snapshot
from hooks.loss import token_losses

LONGEST = 64  # tokens that CircuitsVis draws smoothly; beyond, a picture stands in
COUNT = 8  # examples that are kept
WEIGHTS = 24_000  # attention weights that are kept: 48 kB
NEURONS = 5  # of each layer


@dataclass(frozen=True, eq=False)
class ExampleViews(Result):
    """Attention, active neurons and loss on a few examples.

    Attributes:
        words: Each example's positions for people to read.
        pattern: Attention weights, of the first examples where all would be more than 24,000; on
            more than 64 positions each layer's mean over heads, as one head.
        neurons: The five neurons of each layer whose largest activation on these examples is
            largest, that one first; none in a model without an MLP.
        activations: Of those neurons, after the nonlinearity.
        loss: Cross-entropy in nats at scored positions, NaN elsewhere.
        answers: What the model answers at its last scored position, as a class number.
        targets: The right class there.
        guess_loss: Loss of guessing all classes alike, in nats.
        is_causal: Whether positions attend only to themselves and earlier ones.
    """

    needs: ClassVar = ("tokens", "attention")
    count: ClassVar = COUNT

    words: tuple[tuple[str, ...], ...]
    pattern: Float[np.ndarray, "shown layer head query key"]
    neurons: Int[np.ndarray, "layer neuron"]
    activations: Float[np.ndarray, "example pos layer neuron"]
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
        logits = snapshot.logits().double().cpu()
        losses = token_losses(logits, examples.targets.long())
        rows = torch.arange(len(examples))
        last = examples.scored.shape[1] - 1 - examples.scored.flip(1).int().argmax(1)
        neurons, activations = active_neurons(snapshot)
        return cls(
            words=examples.words or _numbers(examples.tokens),
            pattern=kept_pattern(snapshot).half().numpy(),
            neurons=neurons.numpy(),
            activations=activations.numpy(),
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
        """Tokens coloured by loss, each layer's active neurons, and each example's attention."""
        neurons = {"neurons": self._neurons()} if self.neurons.size else {}
        attention = {f"attention_{i}": self._attention(i) for i in range(len(self.pattern))}
        return {"tokens": self._tokens(), **neurons, **attention}

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
                "tokens": [f"{word} " for word in lines[:-1]],
                "values": values[:-1],
                "minValue": 0,
                "maxValue": self.guess_loss,
            },
            title="Answers given, coloured by loss",
            caption=f"White: no loss. Full blue: {self.guess_loss:.2f} nats, as bad as guessing.",
        )

    def _neurons(self) -> View:
        layers, count = self.neurons.shape
        named = [", ".join(map(str, row)) for row in self.neurons]
        listed = "; ".join(f"layer {layer}: {row}" for layer, row in enumerate(named))
        ranks = [f"no. {rank}" for rank in range(1, count + 1)]  # their numbers differ by layer
        return View(
            "TextNeuronActivations",
            {
                "tokens": [[f"{word} " for word in sentence] for sentence in self.words],
                "activations": [
                    self.activations[i, : len(sentence)].tolist()
                    for i, sentence in enumerate(self.words)
                ],
                "firstDimensionName": "Layer",
                "secondDimensionName": "Neuron",
                "firstDimensionLabels": [str(layer) for layer in range(layers)],
                "secondDimensionLabels": named[0].split(", ") if layers == 1 else ranks,
            },
            title="Where the neurons that fire most do so",
            caption=f"Deep colour: a large activation. Most active first: {listed}.",
        )

    def _attention(self, example: int) -> View:
        sentence = self.words[example]
        size = len(sentence)
        patterns = self.pattern[example, :, :, :size, :size]
        layers, heads = patterns.shape[:2]
        title = f"Attention on “{' '.join(sentence)}”"
        if size > LONGEST:
            return picture(
                patterns.mean(1, dtype=np.float32), limits=(0, 1),
                title=f"{title[:80]}…: mean over the heads of each layer",
                caption="One matrix a layer, from the left: a row is a query, a column a key. "
                "White is a weight of 0, full blue of 1.",
            )  # fmt: skip
        return View(
            "AttentionHeads",
            {
                "tokens": list(sentence),
                "attention": patterns.reshape(-1, size, size).tolist(),
                "attentionHeadNames": [f"{i}.{j}" for i in range(layers) for j in range(heads)],
                "maskUpperTri": self.is_causal,
            },
            title=title,
            caption="One matrix a head (layer.head): a row is a query, a column a key.",
        )


def kept_pattern(snapshot: Snapshot) -> Float[Tensor, "shown layer head query key"]:
    """Attention weights of the first examples, as many as make 24,000 and at least one.

    On more than 64 positions they are each layer's mean over its heads.
    """
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(snapshot.config.n_layers)]
    pattern = torch.stack(list(snapshot.cache(names).values()), dim=1).float().cpu()
    if pattern.shape[-1] > LONGEST:
        pattern = pattern.mean(2, keepdim=True)
    return pattern[: max(1, WEIGHTS // pattern[0].numel())]


def active_neurons(
    snapshot: Snapshot,
) -> tuple[Int[Tensor, "layer neuron"], Float[Tensor, "example pos layer neuron"]]:
    """Each layer's neurons with the largest activations, and their activations; 0 at padding."""
    names = [f"blocks.{layer}.mlp.hook_post" for layer in range(snapshot.config.n_layers)]
    if names[0] not in snapshot.live.model.hook_dict:
        n_examples, n_positions = snapshot.examples.scored.shape
        none = torch.zeros(n_examples, n_positions, len(names), 0)
        return torch.zeros(len(names), 0, dtype=torch.long), none
    visible = snapshot.examples.visible.cpu()[:, :, None, None]
    found = torch.stack(list(snapshot.cache(names).values()), dim=2).float().cpu()
    peaks = torch.where(visible, found, -torch.inf).amax((0, 1))
    neurons = peaks.sort(descending=True, stable=True).indices[:, :NEURONS]
    index = rearrange(neurons, "layer neuron -> 1 1 layer neuron").expand(*found.shape[:2], -1, -1)
    return neurons, torch.where(visible, found.gather(3, index), 0.0)


def _numbers(tokens: torch.Tensor | None) -> tuple[tuple[str, ...], ...]:
    assert tokens is not None  # `needs` has tokens
    return tuple(tuple(map(str, row)) for row in tokens.tolist())
