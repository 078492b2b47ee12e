"""Does the network compute the answer with waves of a few frequencies?

On all n x n pairs, ordered so that the operation is addition: the share of the logits that
cos w(a + b - c) explains, the share of each neuron that one frequency explains, whether the MLP's
readout directions carry cos w(a + b) and sin w(a + b), and the loss with only those waves kept
(restricted) or only those removed (excluded).

Source: Nanda et al. 2023 (arXiv:2301.05217), sections 4 and 5 and released code. Key frequencies
are those of the last snapshot, reused at every step, as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.findings import Finding, percent, strength_beside
from analyses.fourier.basis import (
    basis_names,
    class_writes,
    frequency_power,
    frequency_shares,
    keys_by_share,
    keys_by_vote,
    orders_of,
    residue_embedding,
    transform_2d,
    without_rounding,
)
from analyses.fourier.logit_waves import (
    Grid,
    answering_neurons,
    excluded,
    logit_waves,
    neuron_waves,
    pair_accuracy,
    pair_losses,
    pair_rows,
    readout_waves,
    restricted,
)
from analyses.plots import HEIGHT, MARGIN, Figure, bars, heatmap, logarithmic
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Drawings, Result
from analyses.statistics import defined_mean
from hooks import ModularFacts, Snapshot

LOGIT_MARGIN = 0.1  # share of the logits by which the waves must exceed the control
COST = 0.5  # of the loss of guessing: removing the waves must cost at least as much
NEURON_MARGIN = 0.1  # share of neurons by which those of one frequency must exceed the control
MAX_NAMED = 8  # frequencies that titles and sentences list
MAX_TICKS = 10  # along a side of a map, so that a telephone can show them


@dataclass(frozen=True, eq=False)
class FourierCircuit(Result):
    """How much of a model's computation a few waves explain.

    For multiplication, pairs and classes without 0. A row of the table is a frequency: its share
    and factor in the logits, how many neurons it explains most of, and whether it is key.

    Attributes:
        modulus: n, the number of residues in play.
        wave: The wave that fits the operation.
        keys: Key frequencies, strongest in W_E first; the reference's where there is one.
        logit_fve: Share of the logits' variance that cos w(a + b - c) explains, by frequency
            1..n//2; shares add up.
        logit_amplitude: The factor of each such cosine in the logits.
        neuron_frequency: The frequency that explains most of each neuron; 0 for a silent one, whose
            activation is the same for all pairs.
        neuron_fve: Share of the neuron's variance that it explains, by cosines and sines of it
            in a and in b and their products; NaN for a silent one.
        neuron_map: Norm over neurons of their 2-D Fourier coefficients.
        logit_map: Norm over classes of the logits' 2-D Fourier coefficients.
        readout_fve: By key frequency, the share of the MLP's projections on the readout
            directions u and v that cos w(a + b) and sin w(a + b) explain.
        readout_slope: By key frequency, the factors of those two waves; equal if the network uses
            the trigonometric identity.
        loss: Cross-entropy over all, train and test pairs, in nats.
        restricted_loss: The same with only the waves of key frequencies kept in the logits.
        excluded_loss: The same with only those waves removed.
        excluded_by_frequency: Loss over train pairs with one key frequency's waves removed.
        restricted_accuracy: Over all pairs.
        accuracy: Over all pairs.
    """

    needs: ClassVar = Needs(
        facts={ModularFacts: ("wave", "ordered_pairs")},
        labels=("a", "b", "c", "train"),
        weights=("W_E", "neuron_out"),
    )
    coordinates: ClassVar = {
        "frequency": "frequencies",
        "component_a": "components",
        "component_b": "components",
        "direction": ("u", "v"),
    }
    columns: ClassVar = {
        "logit_fve": "logit_fve",
        "logit_amplitude": "logit_amplitude",
        "neurons": "neuron_counts",
        "is_key": "is_key",
    }
    reference: ClassVar = "last"
    sliding: ClassVar = ("logits", "neurons", "neuron_map")

    modulus: int
    wave: str
    keys: tuple[int, ...]
    logit_fve: Float[np.ndarray, " frequency"]
    logit_amplitude: Float[np.ndarray, " frequency"]
    neuron_frequency: Int[np.ndarray, " neuron"]
    neuron_fve: Float[np.ndarray, " neuron"]
    neuron_map: Float[np.ndarray, "component_a component_b"]
    logit_map: Float[np.ndarray, "component_a component_b"]
    readout_fve: Float[np.ndarray, "key direction=2"]
    readout_slope: Float[np.ndarray, "key direction=2"]
    loss: tuple[float, float, float]
    restricted_loss: tuple[float, float, float]
    excluded_loss: tuple[float, float, float]
    excluded_by_frequency: tuple[float, ...]
    restricted_accuracy: float
    accuracy: float

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "FourierCircuit | None" = None,
        share: float = 0.9,
        least_fve: float = 0.02,
    ) -> "FourierCircuit":
        """Measures one snapshot on all pairs.

        Args:
            snapshot: A model of modular arithmetic with all its ordered pairs.
            reference: Whose key frequencies to use; without it the snapshot's own.
            share: Key frequencies carry this share of W_E's power together ...
            least_fve: ... and each explains at least this share of the logits.

        Raises:
            ValueError: Pairs are missing among the examples.
        """
        examples = snapshot.examples
        rows = pair_rows(examples, "FourierCircuit")
        logits = snapshot.logits()[:, -1].double().cpu()[:, orders_of(examples.facts)[2]][rows]
        neurons, train = answering_neurons(snapshot)[rows], examples.label("train")[rows]
        fve, amplitude = logit_waves(logits)
        keys = reference.keys if reference else keys_of_snapshot(snapshot, fve, share, least_fve)
        best, neuron_fve = neuron_waves(neurons)
        W_L = class_writes(snapshot).T
        readout = np.array([readout_waves(neurons, W_L, key) for key in keys]).reshape(-1, 2, 2)
        only_keys, without_keys = restricted(logits, keys), excluded(logits, keys)
        return cls(
            modulus=len(logits),
            wave=examples.facts(ModularFacts).wave,
            keys=keys,
            logit_fve=fve.numpy(),
            logit_amplitude=amplitude.numpy(),
            neuron_frequency=best.numpy(),
            neuron_fve=neuron_fve.numpy(),
            neuron_map=norm_map(neurons),
            logit_map=norm_map(logits),
            readout_fve=readout[:, 0],
            readout_slope=readout[:, 1],
            loss=pair_losses(logits, train),
            restricted_loss=pair_losses(only_keys, train),
            excluded_loss=pair_losses(without_keys, train),
            excluded_by_frequency=tuple(
                pair_losses(excluded(logits, [key]), train)[1] for key in keys
            ),
            restricted_accuracy=pair_accuracy(only_keys),
            accuracy=pair_accuracy(logits),
        )

    @property
    def frequencies(self) -> Int[np.ndarray, " frequency"]:
        """1, ..., n//2."""
        return np.arange(1, len(self.logit_fve) + 1)

    @property
    def components(self) -> list[str]:
        """Names of the components of the two maps: 1, cos 1, sin 1, cos 2, ..."""
        return basis_names(self.modulus)

    @property
    def neuron_counts(self) -> Int[np.ndarray, " frequency"]:
        """How many neurons each frequency explains most of."""
        return np.bincount(self.neuron_frequency, minlength=len(self.logit_fve) + 1)[1:]

    @property
    def is_key(self) -> Bool[np.ndarray, " frequency"]:
        """Which frequencies are key."""
        return np.isin(self.frequencies, self.keys)

    @property
    def key_fve(self) -> float:
        """Share of the logits that key frequencies explain together."""
        return float(sum(self.logit_fve[key - 1] for key in self.keys))

    @property
    def top_5_fve(self) -> float:
        """Share of the logits that the five best frequencies explain, key or not."""
        return float(np.sort(self.logit_fve)[-5:].sum())

    @property
    def slope_ratio(self) -> Float[np.ndarray, " key"]:
        """The smaller of the two readout slopes over the larger, by key frequency.

        1 where the network uses the trigonometric identity; negative where the signs differ; NaN
        where both are 0.
        """
        least, most = np.sort(np.abs(self.readout_slope), axis=1).T
        return np.divide(
            np.sign(self.readout_slope).prod(1) * least,
            most,
            out=np.full_like(most, np.nan),
            where=most > 0,
        )

    @property
    def silent_neurons(self) -> int:
        """Neurons whose activation is the same for all pairs; they have no vote."""
        return int((self.neuron_frequency == 0).sum())

    def single_frequency_neurons(self, threshold: float = 0.85) -> float:
        """Share of neurons of which one frequency explains more than a threshold.

        Silent neurons are left out; NaN where there are no others.
        """
        return defined_mean((self.neuron_fve > threshold)[self.neuron_frequency > 0])

    def keys_by_rule(self, least_fve: float = 0.02) -> dict[str, tuple[int, ...]]:
        """Key frequencies by the rules on activations, whatever `keys` are.

        `vote` names every frequency that explains most of some neuron (Nanda et al.'s released
        code); `logits` those whose wave explains at least `least_fve` of the logits.
        """
        strongest_first = np.argsort(-self.logit_fve, kind="stable") + 1
        return {
            "vote": keys_by_vote(torch.from_numpy(self.neuron_frequency)),
            "logits": tuple(
                int(key) for key in strongest_first if self.logit_fve[key - 1] >= least_fve
            ),
        }

    def summary(self) -> dict[str, float | str]:
        """Explained shares, and losses with the waves kept and removed. NaN without keys.

        Silent neurons are counted, and left out of votes and means.
        """
        return {
            "logit_fve_key": self.key_fve,
            "logit_fve_top_5": self.top_5_fve,
            "key_count_vote_rule": len(self.keys_by_rule()["vote"]),
            "key_count_logit_rule": len(self.keys_by_rule()["logits"]),
            "silent_neurons": self.silent_neurons,
            "mean_neuron_fve": defined_mean(self.neuron_fve),
            "single_frequency_neurons": self.single_frequency_neurons(),
            "readout_fve": defined_mean(self.readout_fve),
            "readout_slope_ratio": defined_mean(self.slope_ratio),
            "accuracy": self.accuracy,
            "restricted_accuracy": self.restricted_accuracy,
            "loss_all": self.loss[0],
            "restricted_loss_all": self.restricted_loss[0],
            "restricted_loss_test": self.restricted_loss[2],
            "excluded_loss_train": self.excluded_loss[1],
            "key_frequencies": " ".join(map(str, self.keys)),
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """What the waves explain of the logits, what the loss is without them, pure neurons."""
        before = untrained if isinstance(untrained, FourierCircuit) else None
        if not self.keys:
            none = "No frequency carries both the embedding and the logits: there are no key waves"
            return (Finding(none, "not found", figure="logits"),)
        return (self._explained(before), *self._ablated(), *self._pure_neurons(before))

    @property
    def _random_fve(self) -> float:
        """The share of random logits that key waves explain: as many of their dimensions."""
        return len(self.keys) / (self.modulus**2 * (self.modulus - 1))

    @property
    def _waves(self) -> str:
        """The key waves in words."""
        named = ", ".join(map(str, sorted(self.keys)))
        several = len(self.keys) > MAX_NAMED
        return f"{self.wave} at frequencies {f'({len(self.keys)} of them)' if several else named}"

    def _explained(self, untrained: "FourierCircuit | None") -> Finding:
        control, beside = self._random_fve, "random logits"
        if untrained is not None:
            control, beside = untrained.key_fve, "untrained"
        text = (
            f"{self._waves} explains {percent(self.key_fve)} of the logits "
            f"({beside}: {percent(control)})"
        )
        strength = strength_beside(self.key_fve, control, margin=LOGIT_MARGIN)
        return Finding(text, strength, figure="logits")

    def _ablated(self) -> tuple[Finding, ...]:
        guessing = float(np.log(self.modulus))
        losses = (self.excluded_loss[1], self.loss[1], self.restricted_loss[0], self.loss[0])
        if not np.isfinite(losses).all():
            return ()
        excluded, train, restricted, whole = losses
        text = (
            f"Without the key waves train loss is {excluded:.2g} nats instead of {train:.2g} "
            f"(guessing: {guessing:.2f}); with only them loss on all pairs is {restricted:.2g} "
            f"instead of {whole:.2g}"
        )
        strength = strength_beside(excluded, train, margin=COST * guessing)
        return (Finding(text, strength, figure="ablations"),)

    def _pure_neurons(self, untrained: "FourierCircuit | None") -> tuple[Finding, ...]:
        share = self.single_frequency_neurons()
        control = np.nan if untrained is None else untrained.single_frequency_neurons()
        if np.isnan([share, control]).any():
            return ()
        text = (
            f"{percent(share)} of neurons follow a single frequency (over 85 % of their variance; "
            f"untrained: {percent(control)})"
        )
        strength = strength_beside(share, control, margin=NEURON_MARGIN)
        return (Finding(text, strength, figure="neurons"),)

    def figures(self) -> Mapping[str, Drawing]:
        """Logits by frequency, neurons by frequency, the ablations, and 2-D spectra."""
        return Drawings(
            logits=lambda: bars(
                self.frequencies,
                {"logits": self.logit_fve},
                strong=self.keys,
                title=f"{self._waves} explains {percent(self.key_fve)} of the logits (random "
                f"logits: {percent(self._random_fve)})",
                axes=("frequency (cycles per modulus)", "share of logit variance explained"),
            ),
            neurons=lambda: bars(
                self.frequencies,
                {"neurons": self.neuron_counts},
                strong=self.keys,
                title=f"{self.single_frequency_neurons():.0%} of neurons follow one frequency "
                "(over 85% of their variance)",
                axes=("best frequency of the neuron", "neurons"),
            ),
            ablations=self._ablations_figure,
            excluded=self._excluded_figure,
            neuron_map=lambda: frequency_map(
                self.neuron_map,
                title="Neurons in two dimensions: norms by frequency in a and in b",
                unit="norm over neurons",
            ),
            logit_map=lambda: frequency_map(
                self.logit_map,
                title="Logits in two dimensions: waves of a + b are blocks on the diagonal",
                unit="norm over classes",
            ),
        )

    def _ablations_figure(self) -> Drawing:
        losses = {
            "full model": self.loss,
            "only key waves kept": self.restricted_loss,
            "key waves removed": self.excluded_loss,
        }
        return bars(
            ["all pairs", "train", "test"],
            losses,
            title="Loss with only the key waves, and without them (guessing: "
            f"{np.log(self.modulus):.2f} nats)",
            axes=("pairs", "cross-entropy (nats)"),
        ).update_yaxes(logarithmic(losses))

    def _excluded_figure(self) -> Drawing:
        """Losses over train pairs without one key frequency, between those with all and none."""
        single = dict(sorted(zip(self.keys, self.excluded_by_frequency, strict=True)))
        names = [f"no {key}" for key in single]
        losses = [self.loss[1], self.restricted_loss[1], *single.values(), self.excluded_loss[1]]
        return bars(
            ["full model", "keys only", *names, "no keys"],
            {"loss": losses},
            strong=names,
            title="Loss over train pairs without the waves of one key frequency",
            axes=("waves of key frequencies in the logits", "cross-entropy (nats)"),
        ).update_yaxes(logarithmic({"loss": losses}))


def keys_of_snapshot(
    snapshot: Snapshot, fve: Float[Tensor, " frequency"], share: float, least_fve: float
) -> tuple[int, ...]:
    """Key frequencies of a snapshot, strongest in W_E first.

    Args:
        snapshot: The snapshot.
        fve: Share of its logits that each frequency 1, 2, ... explains.
        share: The fewest frequencies that carry this share of W_E's power together ...
        least_fve: ... of which those that explain at least this share of the logits.
    """
    power = without_rounding(frequency_power(residue_embedding(snapshot)))
    return tuple(
        key for key in keys_by_share(frequency_shares(power), share) if fve[key - 1] >= least_fve
    )


def norm_map(grid: Grid) -> Float[np.ndarray, "n n"]:
    """Norms over z of the 2-D coefficients, each z centred over pairs first."""
    return transform_2d(grid - grid.mean((0, 1))).norm(dim=-1).float().numpy()


def frequency_map(norms: Float[np.ndarray, "n n"], *, title: str, unit: str) -> Figure:
    """A heat map of components as `basis_names` orders them, first operand down."""
    names = basis_names(len(norms))
    figure = heatmap(
        norms,
        title=title,
        axes=("frequency in b (cos, sin)", "frequency in a (cos, sin)"),
        unit=unit,
        ticks=(names, names),
    ).update_layout(height=HEIGHT + 60, margin=MARGIN)  # names are hovered over only
    sides = frequency_ticks(len(norms)) | {"constrain": "domain"}
    return figure.update_xaxes(sides).update_yaxes(sides, scaleanchor="x")


def frequency_ticks(n: int) -> dict[str, Any]:
    """One tick a frequency, or every second, fifth, tenth, on an axis of `basis_names`.

    Each stands between its cosine and its sine, that of frequency 0 at the constant.
    """
    last = n // 2
    gap = next(gap for gap in (1, 2, 5, 10, 20, 50, last) if last / gap <= MAX_TICKS)
    shown = range(0, last + 1, gap)
    return {
        "tickmode": "array",
        "tickvals": [min(max(2 * frequency - 0.5, 0), n - 1) for frequency in shown],
        "ticktext": [str(frequency) for frequency in shown],
    }
