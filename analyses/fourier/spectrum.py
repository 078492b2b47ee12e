"""Which frequencies do the weights of a modular-arithmetic model hold?

Power by frequency of three matrices: the embedding W_E, what neurons read from it (through each
head's OV circuit for a transformer), and the neuron-logit map W_L over its classes; shares,
key frequencies by three rules, Gini coefficient, and how pure each neuron's frequency is.

Source: Nanda et al. 2023 (arXiv:2301.05217), sections 4.1 and 4.2 and released code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int

from analyses.findings import Finding, percent, strength_beside
from analyses.fourier.basis import (
    best_frequencies,
    class_writes,
    frequency_power,
    frequency_shares,
    keys_by_median,
    keys_by_share,
    keys_by_vote,
    orders_of,
    residue_embedding,
    without_rounding,
)
from analyses.plots import bars, histogram
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import defined_mean, gini, ratio
from hooks import ModularFacts, Snapshot

FEW = 0.5  # of the control's frequencies: at most this share of them counts as few
POWER_MARGIN = 0.1  # share of power by which a matrix must exceed power that is spread evenly
MAX_NAMED = 8  # frequencies that titles and sentences list
ERRORS = 3  # standard errors of the mean over neurons by which purity must exceed the control


@dataclass(frozen=True, eq=False)
class FourierSpectrum(Result):
    """Power by frequency of a model's weights.

    A row of the table is a matrix and a frequency; the constant has no share.

    Attributes:
        modulus: Residues in play: p, or p - 1 for multiplication, whose order is that of
            discrete logarithms.
        operation: The task's operation.
        power: Squared norm by matrix (W_E, neuron_in, W_L) and frequency 0..modulus//2.
        neuron_frequency: The strongest frequency in what each neuron reads; 0 for a silent one,
            which reads nothing that varies over residues.
        neuron_purity: Share of that frequency in what the neuron reads, the constant excluded;
            NaN for a silent one.
        share: How much of the power key frequencies by share carry.
    """

    needs: ClassVar = Needs(
        facts={ModularFacts: ("wave",)}, weights=("W_E", "neuron_in", "neuron_out")
    )
    coordinates: ClassVar = {"matrix": ("W_E", "neuron_in", "W_L")}
    columns: ClassVar = {"power": "power", "share": "_shares_from_0"}
    sliding: ClassVar = ("embedding", "matrices")

    modulus: int
    operation: str
    power: Float[np.ndarray, "matrix frequency"]
    neuron_frequency: Int[np.ndarray, " neuron"]
    neuron_purity: Float[np.ndarray, " neuron"]
    share: float

    @classmethod
    def measure(cls, snapshot: Snapshot, *, share: float = 0.9) -> "FourierSpectrum":
        """Measures one snapshot's weights.

        Args:
            snapshot: A model of modular arithmetic.
            share: Share of the power that key frequencies must carry together.

        Raises:
            ValueError: No wave fits the operation, or the model has no neurons.
        """
        facts = snapshot.examples.facts
        reads = snapshot.weights("neuron_in").double().cpu()[:, orders_of(facts)[0]]
        matrices = (
            residue_embedding(snapshot),
            rearrange(reads, "operand residue neuron -> residue (operand neuron)"),
            class_writes(snapshot),
        )
        read = frequency_power(rearrange(reads, "operand residue neuron -> neuron residue operand"))
        best, purity, _ = best_frequencies(without_rounding(read)[:, 1:].T)
        return cls(
            modulus=reads.shape[1],
            operation=facts(ModularFacts).operation,
            power=torch.stack(
                [without_rounding(frequency_power(matrix)) for matrix in matrices]
            ).numpy(),
            neuron_frequency=best.numpy(),
            neuron_purity=purity.numpy(),
            share=share,
        )

    @property
    def shares(self) -> Float[np.ndarray, "matrix rest"]:
        """Share of each frequency 1, 2, ... by matrix, the constant excluded.

        NaN for a matrix that does not vary over residues.
        """
        return frequency_shares(torch.from_numpy(self.power)).numpy()

    @property
    def _shares_from_0(self) -> Float[np.ndarray, "matrix frequency"]:
        """`shares`, with NaN for the constant."""
        return np.pad(self.shares, ((0, 0), (1, 0)), constant_values=np.nan)

    @property
    def key_frequencies(self) -> tuple[int, ...]:
        """The fewest frequencies that carry `share` of W_E's power, strongest first."""
        return self.keys(0)["share"]

    def keys(self, matrix: int = 0) -> dict[str, tuple[int, ...]]:
        """Key frequencies of a matrix by each rule.

        `vote` names every frequency that some neuron reads most of, whatever the matrix. For the
        rules on activations see FourierCircuit.
        """
        power = torch.from_numpy(self.power[matrix])
        return {
            "share": keys_by_share(frequency_shares(power), self.share),
            "median": keys_by_median(power),
            "vote": keys_by_vote(torch.from_numpy(self.neuron_frequency)),
        }

    @property
    def silent_neurons(self) -> int:
        """Neurons that read nothing which varies over residues; they have no vote."""
        return int((self.neuron_frequency == 0).sum())

    def summary(self) -> dict[str, float | str]:
        """Key frequencies, how few they are, and how concentrated the power is.

        A matrix that does not vary over residues has no key frequencies, and NaN for the rest.
        Silent neurons are counted, and left out of votes and of the mean purity.
        """
        concentration = gini(torch.from_numpy(self.power[:, 1:])).tolist()
        top = np.sort(self.shares, axis=1)[:, ::-1][:, :5].sum(1)
        return {
            "key_frequencies": " ".join(map(str, self.key_frequencies)),
            "key_count": len(self.key_frequencies),
            "key_count_median_rule": len(self.keys()["median"]),
            "key_count_vote_rule": len(self.keys()["vote"]),
            "gini_W_E": concentration[0],
            "gini_neuron_in": concentration[1],
            "gini_W_L": concentration[2],
            "top_5_share_W_E": float(top[0]),
            "top_5_share_W_L": float(top[2]),
            "constant_share_W_E": ratio(self.power[0, 0], self.power[0].sum()),
            "mean_neuron_purity": defined_mean(self.neuron_purity),
            "silent_neurons": self.silent_neurons,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How few frequencies the embedding holds, whether the output shares them, pure neurons."""
        before = untrained if isinstance(untrained, FourierSpectrum) else None
        if not self.key_frequencies:
            flat = "No frequency carries the embedding: it does not vary over residues"
            return (Finding(flat, "not found", figure="embedding"),)
        return (self._few_keys(before), *self._same_keys(), *self._pure_neurons(before))

    def _few_keys(self, untrained: "FourierSpectrum | None") -> Finding:
        count, control, beside = len(self.key_frequencies), self.even_count, "spread evenly"
        if untrained is not None and untrained.key_frequencies:
            control, beside = len(untrained.key_frequencies), "untrained"
        text = (
            f"{percent(self.share)} of the embedding lies at {count} of {self.modulus // 2} "
            f"frequencies{self._named_keys} ({beside}: {control})"
        )
        return Finding(text, "found" if count <= FEW * control else "null", figure="embedding")

    def _same_keys(self) -> tuple[Finding, ...]:
        """How much of the output's power lies at the embedding's key frequencies, if few."""
        keys = np.array(self.key_frequencies)
        share, even = float(self.shares[2, keys - 1].sum()), len(keys) / (self.modulus // 2)
        if np.isnan(share) or len(keys) > FEW * self.even_count:
            return ()
        text = (
            f"{percent(share)} of what neurons write to the logits lies at the key frequencies of "
            f"the embedding (spread evenly: {percent(even)})"
        )
        strength = strength_beside(share, even, margin=POWER_MARGIN)
        return (Finding(text, strength, figure="matrices"),)

    def _pure_neurons(self, untrained: "FourierSpectrum | None") -> tuple[Finding, ...]:
        purity = defined_mean(self.neuron_purity)
        control = np.nan if untrained is None else defined_mean(untrained.neuron_purity)
        if np.isnan([purity, control]).any():
            return ()
        text = (
            f"On average {percent(purity)} of what a neuron reads lies at a single frequency "
            f"(untrained: {percent(control)})"
        )
        known = self.neuron_purity[~np.isnan(self.neuron_purity)]
        error = float(known.std()) / np.sqrt(len(known))
        strength = strength_beside(purity, control, margin=ERRORS * error)
        return (Finding(text, strength, figure="purity"),)

    @property
    def even_count(self) -> int:
        """How many frequencies would carry `share` of power that is spread evenly over them."""
        return int(np.ceil(self.share * (self.modulus // 2)))

    @property
    def _named_keys(self) -> str:
        """The key frequencies, where they are few enough to be read."""
        keys = self.key_frequencies
        return f": {', '.join(map(str, sorted(keys)))}" if len(keys) <= MAX_NAMED else ""

    def figures(self) -> Mapping[str, Drawing]:
        """Shares of W_E, of all three matrices, and the purity of neurons."""
        keys, frequencies = self.key_frequencies, np.arange(1, self.modulus // 2 + 1)
        axes = ("frequency (cycles per modulus)", "share of power")
        return {
            "embedding": bars(
                frequencies,
                {"W_E": self.shares[0]},
                axes=axes,
                strong=keys,
                title=f"{percent(self.share)} of the embedding lies at {len(keys)} of "
                f"{self.modulus // 2} frequencies{self._named_keys} (spread evenly: "
                f"{self.even_count})",
            ),
            "matrices": bars(
                frequencies,
                {
                    "embedding W_E": self.shares[0],
                    "read by neurons": self.shares[1],
                    "written to logits W_L": self.shares[2],
                },
                title="Power by frequency of what is embedded, read by neurons and written",
                axes=axes,
            ),
            "purity": histogram(
                self.neuron_purity[~np.isnan(self.neuron_purity)],
                limits=(0, 1),
                axes=("share of best frequency", "neurons"),
                title=f"Neurons read {defined_mean(self.neuron_purity):.0%} from one frequency on "
                "average",
            ),
        }
