"""Which weights does every neuron have, and which of them does training leave?

A column a neuron: what it reads from each input, and what it adds to each logit. Neurons keep the
places that they have at the last step, so that between steps nothing moves but the weights: where
the operation is addition on a circle, by frequency and then phase; otherwise the largest first.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), whose heat
maps follow a scrubber over training. The order of neurons that read no waves is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.findings import Finding
from analyses.fourier import best_frequencies
from analyses.neurons.phases import coefficients, coefficients_at, operand_reads
from analyses.plots import PALETTE, PAPER, Figure, bars, heatmap
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import participation_ratio
from hooks import InputFacts, ModularFacts, Snapshot

if TYPE_CHECKING:
    import pandas

SIGNED = ((0.0, PALETTE[1]), (0.5, PAPER), (1.0, PALETTE[0]))  # a weight of 0 is paper
ROW_HEIGHT, MARGINS_HEIGHT = 14, 120  # pixels: of a row, and of what surrounds a map
MIN_HEIGHT, MAX_HEIGHT = 440, 640  # pixels of a map with its surroundings
FEW = 0.5  # of the control's inputs: at most this share of them counts as few
COLUMN = "neuron, in the order of the last step"


@dataclass(frozen=True, eq=False)
class NeuronWeights(Result):
    """The weights of neurons, as they are, a column a neuron.

    Attributes:
        inputs: Names of the inputs, or of the tokens.
        total: Number of neurons of the network.
        neurons: Which neurons are kept, in the order of their columns: the largest at the last
            step, by the norm of what they read times the norm of what they write.
        reads: What each kept neuron reads from each input of the first operand.
        writes: What each kept neuron adds to each class' logit; of two classes, to the second one's
            over the first one's, a single row.
        input_sizes: Norm over all neurons of what they read from an input, of any operand, times
            the norm of what each writes.
    """

    coordinates: ClassVar = {"class": "classes"}
    needs: ClassVar = Needs(facts={InputFacts: ()}, weights=("neuron_in", "neuron_out"))
    reference: ClassVar = "last"
    sliding: ClassVar = ("reads", "writes")

    inputs: tuple[str, ...]
    total: int
    neurons: Int[np.ndarray, " neuron"]
    reads: Float[np.ndarray, "input neuron"]
    writes: Float[np.ndarray, "class neuron"]
    input_sizes: Float[np.ndarray, " input"]

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, reference: "NeuronWeights | None" = None, neurons: int = 64
    ) -> "NeuronWeights":
        """Measures one snapshot's weights.

        Args:
            snapshot: A network with one layer of neurons. (Of several, what the first reads stands
                above what the last writes.)
            reference: The last snapshot's weights, for the order of neurons; without it, these.
            neurons: How many are kept, at most.

        Raises:
            ValueError: No neurons are to be kept.
        """
        if neurons < 1:
            raise ValueError(f"neurons = {neurons}: keep one at least")
        shown = torch.from_numpy(reference.neurons) if reference else in_order(snapshot, neurons)
        reads, writes = _reads_and_writes(snapshot)
        return cls(
            inputs=snapshot.examples.facts(InputFacts).names,
            total=len(writes),
            neurons=shown.numpy(),
            reads=reads[0][:, shown].numpy(),
            writes=(writes.diff(dim=1) if writes.shape[1] == 2 else writes)[shown].T.numpy(),
            input_sizes=(reads * writes.norm(dim=1)).square().sum((0, 2)).sqrt().numpy(),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """What the rows of `writes` are called."""
        return tuple(map(str, range(len(self.writes)))) if len(self.writes) > 1 else ("1 over 0",)

    @property
    def effective_inputs(self) -> float:
        """How many inputs of equal size would share the squared sizes; NaN where all are 0."""
        return float(participation_ratio(torch.from_numpy(self.input_sizes)))

    def summary(self) -> dict[str, float | str]:
        """Neurons, the largest weights, and how many inputs count."""
        return {
            "neurons": self.total,
            "largest_read": float(np.abs(self.reads).max()),
            "largest_written": float(np.abs(self.writes).max()),
            "effective_inputs": self.effective_inputs,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How many inputs training leaves, beside the untrained model's or all of them."""
        count, control, beside = self.effective_inputs, float(len(self.inputs)), "if all were alike"
        if isinstance(untrained, NeuronWeights) and not np.isnan(untrained.effective_inputs):
            control, beside = untrained.effective_inputs, "untrained"
        if np.isnan(count):
            return ()
        text = (
            f"Neurons read {count:.1f} of {len(self.inputs)} inputs, counted by squared weight "
            f"({beside}: {control:.1f})"
        )
        return (Finding(text, "found" if count <= FEW * control else "null", figure="reads"),)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a weight: `side` (reads or writes), `row` (its input or class), `neuron`."""
        import pandas

        sides = {"reads": (self.inputs, self.reads), "writes": (self.classes, self.writes)}
        return pandas.concat(
            [
                pandas.DataFrame(
                    {
                        "side": side,
                        "row": np.repeat(names, len(self.neurons)),
                        "neuron": np.tile(self.neurons, len(names)),
                        "weight": weights.ravel(),
                    }
                )
                for side, (names, weights) in sides.items()
            ],
            ignore_index=True,
        )

    def figures(self) -> Mapping[str, Drawing]:
        """What neurons read, an input a row, and what they write, a class a row."""
        count = len(self.neurons)
        neurons = f"{count} neurons" if count == self.total else f"{count} of {self.total} neurons"
        return {
            "reads": self._map(
                self.reads,
                f"What {neurons} read: {self.effective_inputs:.1f} of {len(self.inputs)} inputs "
                "count",
                "input",
                self.inputs,
            ),
            "writes": self._map(
                self.writes,
                f"What they add to the logits, at most {np.abs(self.writes).max():.2f}",
                "class",
                self.classes,
            )
            if len(self.writes) > 1
            else bars(
                [str(neuron) for neuron in self.neurons],
                {"weight": self.writes[0]},
                title="What they add to the logit of class 1 over that of class 0",
                axes=(COLUMN, "weight"),
            ),
        }

    def _map(
        self, weights: Float[np.ndarray, "row neuron"], title: str, axis: str, names: Sequence[str]
    ) -> Figure:
        figure = heatmap(
            weights,
            title=title,
            axes=(COLUMN, axis),
            unit="weight",
            ticks=([str(neuron) for neuron in self.neurons], names),
        )
        return figure.update_layout(
            height=max(MIN_HEIGHT, min(ROW_HEIGHT * len(names) + MARGINS_HEIGHT, MAX_HEIGHT))
        ).update_traces(zmid=0, colorscale=SIGNED)


def in_order(snapshot: Snapshot, count: int) -> Int[Tensor, " shown"]:
    """The largest neurons: by frequency, then phase, where they read waves; else by their size.

    Silent neurons, which read nothing that varies over residues, come last.
    """
    reads, writes = _reads_and_writes(snapshot)
    sizes = reads.square().sum((0, 1)).sqrt() * writes.norm(dim=1)
    largest = sizes.argsort(descending=True, stable=True)[:count]
    facts = snapshot.examples.facts.get(ModularFacts)
    if facts is None or not facts.wave:
        return largest
    waves = coefficients(operand_reads(snapshot))
    frequency = best_frequencies(waves.abs().square().sum(0))[0]
    phase = coefficients_at(waves[0], frequency).angle()
    rank = frequency.where(frequency > 0, len(waves[0]) + 1)
    return largest[torch.from_numpy(np.lexsort((phase[largest], rank[largest])))]


def _reads_and_writes(
    snapshot: Snapshot,
) -> tuple[Float[Tensor, "operand input d_mlp"], Float[Tensor, "d_mlp class"]]:
    """What neurons read and what they write, in float64."""
    return (
        snapshot.weights("neuron_in").double().cpu(),
        snapshot.weights("neuron_out").double().cpu(),
    )
