"""What does the model do on single examples? Attention, neurons, and tokens coloured by loss.

The first examples of a snapshot, kept with everything CircuitsVis needs to draw them, so that a
page is drawn from a saved result and never runs a model. What is kept is what is drawn: attention
to three digits, of two examples, and the few neurons that fire most. A model that has learned its
task has no loss on any of them, so the answers of the run's first step stand beside its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.plots import View, picture
from analyses.requirements import Needs
from analyses.result import Drawing, Result
from analyses.statistics import defined_mean
from hooks import Snapshot
from hooks.examples import token_losses

if TYPE_CHECKING:
    import pandas

MAX_TOKENS = 64  # that CircuitsVis draws smoothly; beyond, a picture stands in
EXAMPLES_KEPT = 8
PATTERNS_KEPT = 2  # examples whose attention is kept: one more looks like the other two
MAX_WEIGHTS = 24_000  # attention weights that are kept, but for a single example: 48 kB
NEURONS_KEPT = 5  # of each layer


@dataclass(frozen=True, eq=False)
class ExampleViews(Result):
    """Attention, active neurons and loss on a few examples.

    Attributes:
        words: What stands at each example's positions, for people to read.
        pattern: Attention weights of the first two examples, of the first alone where both would
            be more than 24,000; on more than 64 positions each layer's mean over heads, as one.
        neurons: The five neurons of each layer whose largest activation on these examples is
            largest, that one first; none in a model without an MLP.
        activations: Activations of those neurons, after the nonlinearity.
        loss: Cross-entropy in nats at scored positions, NaN elsewhere.
        answers: What the model answers at an example's last scored position, as a class number.
        first_loss: Loss at the run's first step; NaN where that is not known.
        first_answers: Answers at the run's first step; none where that is not known.
        targets: The right class at that position.
        vocabulary: Names of the classes; none where they are numbers.
        guess_loss: Loss of guessing all classes with equal probability, in nats.
        is_causal: Whether positions attend only to themselves and earlier ones.
    """

    needs: ClassVar = Needs(tokens=True, attention=True)
    count: ClassVar = EXAMPLES_KEPT
    reference: ClassVar = "first"

    words: tuple[tuple[str, ...], ...]
    pattern: Float[np.ndarray, "shown layer head query key"]
    neurons: Int[np.ndarray, "layer rank"]
    activations: Float[np.ndarray, "example pos layer rank"]
    loss: Float[np.ndarray, "example pos"]
    answers: tuple[int, ...]
    first_loss: Float[np.ndarray, "example pos"]
    first_answers: tuple[int, ...]
    targets: tuple[int, ...]
    vocabulary: tuple[str, ...]
    guess_loss: float
    is_causal: bool

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, reference: "ExampleViews | None" = None
    ) -> "ExampleViews":
        """Keeps the first 8 examples of a snapshot.

        Args:
            snapshot: A model with attention on tokens.
            reference: The first step's result on the same examples, for its answers.

        Raises:
            ValueError: `reference` is of other examples.
        """
        examples = snapshot.examples.head(EXAMPLES_KEPT)
        snapshot = snapshot.on(examples)
        assert examples.tokens is not None  # ExampleViews needs tokens
        words = examples.words or tuple(tuple(map(str, row)) for row in examples.tokens.tolist())
        if reference is not None and reference.words != words:
            raise ValueError("reference: it is of other examples; measure it on the same")
        loss, answers, targets = answers_given(snapshot)
        neurons, activations = active_neurons(snapshot)
        return cls(
            words=words,
            pattern=kept_pattern(snapshot).half().numpy(),
            neurons=neurons.numpy(),
            activations=activations.numpy(),
            loss=loss,
            answers=answers,
            first_loss=np.full_like(loss, np.nan) if reference is None else reference.loss,
            first_answers=() if reference is None else reference.answers,
            targets=targets,
            vocabulary=examples.facts.vocabulary,
            guess_loss=math.log(snapshot.logits().shape[-1]),
            is_causal=snapshot.config.attention_dir == "causal",
        )

    def summary(self) -> dict[str, float | str]:
        """Mean loss over these examples, NaN where none is scored, and how many are right."""
        return {
            "mean_loss": defined_mean(self.loss),
            "accuracy": float(np.equal(self.answers, self.targets).mean()),
        }

    def to_frame(self) -> "pandas.DataFrame":
        """One row a position, padding left out: `example`, `position`, `word`, `loss`."""
        import pandas

        return pandas.DataFrame(
            [
                {"example": i, "position": j, "word": word, "loss": self.loss[i, j]}
                for i, sentence in enumerate(self.words)
                for j, word in enumerate(sentence)
            ]
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Answers coloured by loss, at the first step too, active neurons, and attention."""
        views = {"tokens": self._tokens("Answers given", self.loss, self.answers)}
        if self.first_answers:
            views["first_tokens"] = self._tokens(
                "Answers given to the same at the first step", self.first_loss, self.first_answers
            )
        if self.neurons.size:
            views["neurons"] = self._neurons()
        return views | {f"attention_{i}": self._attention(i) for i in range(len(self.pattern))}

    def _tokens(
        self, title: str, loss: Float[np.ndarray, "example pos"], answers: tuple[int, ...]
    ) -> View:
        """Each example up to its last scored position, then the answer there with its loss."""
        tokens, values = [], []
        for sentence, losses, answer in zip(self.words, loss, answers, strict=True):
            scored = np.flatnonzero(np.isfinite(losses[: len(sentence)]))
            last = int(scored[-1]) if len(scored) else len(sentence) - 1
            shown = self.vocabulary[answer] if self.vocabulary else str(answer)
            tokens += [*sentence[: last + 1], shown, "│"]
            values += [*np.nan_to_num(losses[:last]).tolist(), 0.0, float(losses[last]), 0.0]
        return View(
            "ColoredTokens",
            {
                "tokens": [f"{token} " for token in tokens[:-1]],
                "values": values[:-1],
                "minValue": 0,
                "maxValue": self.guess_loss,
            },
            title=f"{title}, coloured by loss",
            caption=f"White: no loss. Full blue: {self.guess_loss:.2f} nats, as bad as guessing.",
        )

    def _neurons(self) -> View:
        layers, count = self.neurons.shape
        largest = np.abs(self.activations).max((0, 1))
        shares = self.activations / np.where(largest > 0, largest, 1)
        named = [
            ", ".join(f"{neuron} ({peak:.3g})" for neuron, peak in zip(*layer, strict=True))
            for layer in zip(self.neurons, largest, strict=True)
        ]
        listed = "; ".join(f"layer {layer}: {names}" for layer, names in enumerate(named))
        return View(
            "TextNeuronActivations",
            {
                "tokens": [[f"{word} " for word in sentence] for sentence in self.words],
                "activations": [
                    shares[i, : len(sentence)].tolist() for i, sentence in enumerate(self.words)
                ],
                "firstDimensionName": "Layer",
                "secondDimensionName": "Neuron",
                "firstDimensionLabels": [str(layer) for layer in range(layers)],
                # Neurons of several layers have no number in common, but their rank.
                "secondDimensionLabels": [*map(str, self.neurons[0])]
                if layers == 1
                else [f"no. {rank}" for rank in range(1, count + 1)],
            },
            title="Where the neurons that fire most do so",
            caption="Full colour: the neuron's own largest activation here, which is in brackets; "
            f"values are shares of it. Most active first: {listed}.",
        )

    def _attention(self, example: int) -> View:
        sentence = self.words[example]
        size = len(sentence)
        patterns = self.pattern[example, :, :, :size, :size]
        layers, heads = patterns.shape[:2]
        title = f"Attention on “{' '.join(sentence)}”"
        if size > MAX_TOKENS:
            return picture(
                patterns.mean(1, dtype=np.float32),
                limits=(0, 1),
                title=f"{title[:80]}…: mean over the heads of each layer",
                caption="One matrix a layer, from the left: a row is a query, a column a key. "
                "White is a weight of 0, full blue of 1.",
            )
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
    """Attention weights of the first two examples, or of one where two have more than 24,000.

    On more than 64 positions they are each layer's mean over its heads.
    """
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(snapshot.config.n_layers)]
    pattern = torch.stack(list(snapshot.cache(names).values()), dim=1).float().cpu()
    if pattern.shape[-1] > MAX_TOKENS:
        pattern = pattern.mean(2, keepdim=True)
    return pattern[: max(1, min(PATTERNS_KEPT, MAX_WEIGHTS // pattern[0].numel()))]


def active_neurons(
    snapshot: Snapshot,
) -> tuple[Int[Tensor, "layer rank"], Float[Tensor, "example pos layer rank"]]:
    """Each layer's neurons with the largest activations, and their activations; 0 at padding."""
    names = [f"blocks.{layer}.mlp.hook_post" for layer in range(snapshot.config.n_layers)]
    if names[0] not in snapshot.live.model.hook_dict:
        return (
            torch.zeros(len(names), 0, dtype=torch.long),
            torch.zeros(*snapshot.examples.scored.shape, len(names), 0),
        )
    visible = snapshot.examples.visible.cpu()[:, :, None, None]
    activations = torch.stack(list(snapshot.cache(names).values()), dim=2).float().cpu()
    peaks = torch.where(visible, activations, -torch.inf).amax((0, 1))
    neurons = peaks.sort(descending=True, stable=True).indices[:, :NEURONS_KEPT]
    chosen = activations.gather(3, neurons.expand(*activations.shape[:2], -1, -1))
    return neurons, torch.where(visible, chosen, 0.0)


def answers_given(
    snapshot: Snapshot,
) -> tuple[Float[np.ndarray, "example pos"], tuple[int, ...], tuple[int, ...]]:
    """Losses, NaN where nothing is scored; answers at the last scored positions; what is right."""
    examples, logits = snapshot.examples, snapshot.logits().double().cpu()
    targets, scored = examples.targets.cpu(), examples.scored.cpu()
    losses = torch.where(scored, token_losses(logits, targets.long()), torch.nan)
    rows, last = torch.arange(len(examples)), scored.shape[1] - 1 - scored.flip(1).int().argmax(1)
    answers, right = logits[rows, last].argmax(-1), targets[rows, last]
    return losses.numpy(), tuple(answers.tolist()), tuple(right.tolist())
