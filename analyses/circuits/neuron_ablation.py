"""By how much does the model get worse without a neuron?

    effect = m(ablated) - m(whole)        m: loss, or accuracy, over the scored positions

for each neuron of a layer alone, replaced by zero, by its mean at each position, or by what it is
on another example. Where no layer norm stands between the last neurons and the logits, an ablation
changes these by

    (a' - a) W_out W_U        a: the neuron's activation; a': what stands in for it

so that nothing is run again; the change is exact. Elsewhere each neuron costs three passes.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from analyses.circuits.ablation import Rises, rerun_of
from analyses.circuits.scored import Scores, at_scored, changes, scored_logits, scores_of
from analyses.circuits.stand_ins import Givers, Part, StandIns
from analyses.findings import Finding
from analyses.plots import lines
from analyses.requirements import Needs, has_linear_readout
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import spearman
from hooks import Examples, Snapshot

KINDS = ("zero", "mean", "resample")
MAX_NEURONS = 128  # that are ablated unasked where each costs three passes
SHOWN = 24  # neurons of a figure, from the one that matters most
# From what stands in for activations, and the neurons ablated, to logits where scored.
Without = Callable[[Tensor, Sequence[int]], Tensor]


@dataclass(frozen=True, eq=False)
class NeuronAblation(Result):
    """How loss and accuracy change when a single neuron is ablated in three ways.

    A row of the table is a kind of ablation and a neuron. Effects are m(ablated) - m(whole).

    Attributes:
        layer: The neurons' layer.
        neurons: Which of them are ablated, each alone.
        loss: Of the whole model, in nats a scored position; mean squared error where answers are
            real numbers.
        accuracy: Of the whole model; NaN where answers are real numbers.
        loss_increase: Loss without the neuron minus loss.
        loss_error: Its standard error over examples, each compared with itself.
        accuracy_change: Accuracy without the neuron minus accuracy.
        first_loss_increase: The loss increase at the run's first step; NaN where that is not known.
        is_exact_readout: Whether logits were changed by what neurons write, and nothing run again.
        scored_on: Which examples are scored: all, train or test.
        means_of: Of which examples means are taken: those scored, or all.
        unit: What the loss is in.
    """

    needs: ClassVar = Needs(any_hook_points=("blocks.0.mlp.hook_post",))
    by_default: ClassVar = Needs(linear_readout=True)
    reference: ClassVar = "first"
    count: ClassVar = 1024
    sliding: ClassVar = ("neurons",)
    coordinates: ClassVar = {"kind": KINDS}
    rows: ClassVar = ("kind", "neuron")
    columns: ClassVar = {
        "loss_increase": "loss_increase",
        "loss_error": "loss_error",
        "accuracy_change": "accuracy_change",
    }

    layer: int
    neurons: Int[np.ndarray, " neuron"]
    loss: float
    accuracy: float
    loss_increase: Float[np.ndarray, "kind neuron"]
    loss_error: Float[np.ndarray, "kind neuron"]
    accuracy_change: Float[np.ndarray, "kind neuron"]
    first_loss_increase: Float[np.ndarray, "kind neuron"]
    is_exact_readout: bool
    scored_on: str
    means_of: str
    unit: str

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "NeuronAblation | None" = None,
        layer: int = -1,
        neurons: Sequence[int] | None = None,
        scored_on: Part = "all",
        means_of: Givers = "scored",
        seed: int = 0,
    ) -> "NeuronAblation":
        """Measures one snapshot.

        Args:
            snapshot: A model with neurons.
            reference: The first snapshot's result with the same options, as a control; a snapshot
                of step 0 is its own.
            layer: The neurons' layer; counted from the end where negative.
            neurons: Which neurons; by default all.
            scored_on: Examples that are scored: all, or, by the label `train`, train or test.
            means_of: Examples of which means are taken: the scored ones, or all of the snapshot's.
            seed: Of the permutation that resamples.

        Raises:
            ValueError: An option does not fit, the model has no such neurons, all of many neurons
                would cost three passes each, no position is scored, logits are not finite, or
                `reference` is of other neurons.
        """
        layer = _layer(snapshot, layer)
        stand_ins = StandIns.of(snapshot, scored_on, means_of, seed)
        examples, name = stand_ins.scored.examples, f"blocks.{layer}.mlp.hook_post"
        live = stand_ins.activation(name)
        is_exact = is_read_out(snapshot, layer)
        chosen = _chosen(neurons, layer, live.shape[-1], is_exact=is_exact)
        if reference is not None and reference.neurons.tolist() != chosen:
            raise ValueError("reference: it is of other neurons; measure it with the same options")
        without = (_readout if is_exact else _passes)(stand_ins.scored, layer, live)
        whole = scores_of(without(live, []), examples)
        effects = np.stack(
            [
                _effects(
                    (scores_of(without(given, [j]), examples) for j in chosen), whole, examples
                )
                for kind, given in stand_ins.by_kind(name, live)
                if kind in KINDS
            ]
        )
        first = effects if snapshot.step == 0 else np.full_like(effects, math.nan)
        return cls(
            layer=layer,
            neurons=np.array(chosen),
            loss=float(whole.losses.mean()),
            accuracy=float(whole.is_right.mean()),
            loss_increase=effects[:, :, 0],
            loss_error=effects[:, :, 1],
            accuracy_change=effects[:, :, 2],
            first_loss_increase=reference.loss_increase if reference else first[:, :, 0],
            is_exact_readout=is_exact,
            scored_on=scored_on,
            means_of=means_of,
            unit="squared error" if examples.targets.is_floating_point() else "nats",
        )

    def ranking(self, kind: str) -> list[int]:
        """Neurons by how much the loss rises without them, most first."""
        order = np.argsort(-self.loss_increase[KINDS.index(kind)], kind="stable")
        return self.neurons[order].tolist()

    def summary(self) -> dict[str, float | str]:
        """Loss and accuracy, by kind the largest rise, and how far kinds order neurons alike.

        The last are Spearman's correlations, NaN of fewer than three neurons.
        """
        largest = dict(zip(KINDS, self.loss_increase.max(1).tolist(), strict=True))
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            **{
                f"worst_neuron_loss_increase_{kind}": increase for kind, increase in largest.items()
            },
            **{
                f"spearman_{KINDS[one]}_{KINDS[other]}": spearman(
                    self.loss_increase[one], self.loss_increase[other]
                )
                for one, other in itertools.combinations(range(len(KINDS)), 2)
            },
            **{f"worst_neuron_{kind}": str(self.ranking(kind)[0]) for kind in KINDS},
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """What the neuron that matters most in every way of ablation costs.

        It is the one whose smallest rise of loss over the kinds is largest: found where that
        exceeds all rises of the first step by three standard errors. No neuron matters alone where
        no rise of any kind exceeds 0 by that.
        """
        first = self.first_loss_increase
        if isinstance(untrained, NeuronAblation) and untrained.loss_increase.shape == first.shape:
            first = untrained.loss_increase
        names = {n: f"neuron {j} of layer {self.layer}" for n, j in enumerate(self.neurons)}
        rises = Rises(KINDS, self.loss_increase, self.loss_error, first, self.unit)
        return (rises.finding(names, "neuron"),)

    def figures(self) -> Mapping[str, Drawing]:
        """By rank, how much the loss rises without a neuron, for each kind of ablation."""
        rises = np.flip(np.sort(self.loss_increase), axis=1)[:, :SHOWN]
        curves: dict[str, np.ndarray] = {**dict(zip(KINDS, rises, strict=True))}
        kind = KINDS[int(rises[:, 0].argmax())]
        worst = f"{rises[:, 0].max():.2g} {self.unit} ({kind}, neuron {self.ranking(kind)[0]})"
        beside = ""
        if not np.isnan(self.first_loss_increase).all():
            first = np.flip(np.sort(self.first_loss_increase), axis=1)[:, :SHOWN]
            curves["resample, first step"] = first[KINDS.index("resample")]
            beside = f"; at the first step by {first.max():.2g}"
        return {
            "neurons": lines(
                np.arange(1, rises.shape[1] + 1),
                curves,
                title=f"Without one neuron, loss rises by at most {worst}{beside}",
                axes=(
                    f"rank of the neuron, of {len(self.neurons)} of layer {self.layer}",
                    f"loss ({self.unit}), ablated - whole",
                ),
            )
        }


def is_read_out(snapshot: Snapshot, layer: int) -> bool:
    """Whether logits follow from what a layer's neurons write, and nothing need be run again."""
    is_last = layer == snapshot.config.n_layers - 1
    return is_last and has_linear_readout(snapshot) and not snapshot.edits


def _effects(ablated: Iterable[Scores], whole: Scores, examples: Examples) -> np.ndarray:
    """By neuron: the changes of loss and accuracy, each with its standard error."""
    return np.array([changes(scores, whole, examples) for scores in ablated])


def _readout(scored: Snapshot, layer: int, live: Tensor) -> Without:
    """Adds what the change of some neurons writes to the logits of the whole model."""
    logits, writes = scored_logits(scored).double(), scored.weights("neuron_out").double()
    writes = writes[:, : scored.examples.facts.outputs]

    def without(given: Tensor, neurons: Sequence[int]) -> Tensor:
        change = at_scored((given - live)[..., neurons], scored.examples).double()
        return logits + change @ writes[neurons]

    return without


def _passes(scored: Snapshot, layer: int, live: Tensor) -> Without:
    """Runs the model again from the neurons on."""
    rerun, name = rerun_of(scored, layer), f"blocks.{layer}.mlp.hook_post"

    def without(given: Tensor, neurons: Sequence[int]) -> Tensor:
        ablated = live.clone()
        ablated[..., neurons] = given[..., neurons]
        return rerun(name, ablated)

    return without


def _layer(snapshot: Snapshot, layer: int) -> int:
    """The layer counted from the front.

    Raises:
        ValueError: There is no such layer.
    """
    n_layers = snapshot.config.n_layers
    if not -n_layers <= layer < n_layers:
        raise ValueError(f"layer = {layer}: this model has the layers 0 to {n_layers - 1}")
    return layer % n_layers


def _chosen(neurons: Sequence[int] | None, layer: int, d_mlp: int, *, is_exact: bool) -> list[int]:
    """The neurons that are ablated.

    Raises:
        ValueError: There are none, one is beyond the last, or all would cost many passes.
    """
    if neurons is not None:
        if not neurons or not all(0 <= neuron < d_mlp for neuron in neurons):
            raise ValueError(f"neurons = {list(neurons)}: give some from 0 to {d_mlp - 1}")
        return list(neurons)
    if not is_exact and d_mlp > MAX_NEURONS:
        raise ValueError(
            f"NeuronAblation: {d_mlp} neurons of layer {layer} take {len(KINDS) * d_mlp} passes, "
            "since logits do not follow from what they write alone; name those that count, as in "
            "neurons = [0, 1]"
        )
    return list(range(d_mlp))
