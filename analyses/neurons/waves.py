"""Which wave does each neuron read and write, and what do the neurons of one frequency add up to?

Waves of single neurons over residues and classes, neurons in groups by the frequency they read
most, how pure each neuron is, and each group's part of the logits: its share of them, how much of
it is cos w_f(a + b - c), the wave that peaks at the answer, and the part itself for one pair.
Residues and classes stand in an order in which the operation is addition.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023). It masks the
hidden layer by group and draws the logits of one pair; its notebook takes the largest single
coefficient for a neuron's frequency, where cosine and sine count together here. Gromov 2023
(arXiv:2301.02679) for the inverse participation ratio.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.findings import Finding, percent, strength_beside
from analyses.fourier import (
    answering_neurons,
    best_frequencies,
    class_writes,
    keys_by_vote,
    orders_of,
)
from analyses.neurons.phases import coefficients, operand_reads
from analyses.plots import PALETTE, bar, bars, empty, multiples, strands
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import defined_mean
from hooks import ModularFacts, Snapshot

PAIR = (13, 19)  # the article's
MAX_GROUPS_DRAWN = 6  # the groups of most neurons
ERRORS = 3  # standard errors by which matching frequencies must exceed random pairs
WAVE_MARGIN = 0.1  # share of the logits by which the groups' waves must exceed the control


@dataclass(frozen=True, eq=False)
class NeuronWaves(Result):
    """Waves of neurons, grouped by frequency.

    A row of the table is a neuron. Residues and classes stand in an order in which the operation is
    addition.

    Attributes:
        frequency: The frequency that each neuron reads most; 0 for one that reads nothing which
            varies over residues.
        written_frequency: The frequency that it writes most; 0 for one that writes no such thing.
        purity: Share of that frequency in what the neuron reads, the constant excluded; NaN where
            there is no frequency, and so below.
        written_purity: The same of what it writes.
        ipr: Inverse participation ratio of what it reads: 1 for a single frequency.
        written_ipr: The same of what it writes.
        shown: Neurons whose waves are kept: those that read and write most, by frequency.
        reads: What the shown neurons read from each residue of the first operand.
        writes: What the shown neurons add to each class' logit.
        groups: Frequencies that some neuron reads most, the group of most neurons first.
        wave_fve: By group, the share of its part of the logits that cos w_f(a + b - c) explains
            over the examples, centred over classes; NaN where it has none.
        logit_share: By group, its part's squared norm over the sum of all groups'.
        pair: The (a, b) of `pair_logits`, as positions in their order.
        pair_logits: Each group's part of the logits for that pair, centred over classes.
    """

    needs: ClassVar = Needs(
        tokens=True,
        facts={ModularFacts: ("wave",)},
        labels=("a", "b"),
        weights=("neuron_in", "neuron_out"),
    )
    count: ClassVar = 1000

    frequency: Int[np.ndarray, " neuron"]
    written_frequency: Int[np.ndarray, " neuron"]
    purity: Float[np.ndarray, " neuron"]
    written_purity: Float[np.ndarray, " neuron"]
    ipr: Float[np.ndarray, " neuron"]
    written_ipr: Float[np.ndarray, " neuron"]
    shown: Int[np.ndarray, " shown"]
    reads: Float[np.ndarray, "shown residue"]
    writes: Float[np.ndarray, "shown class"]
    groups: tuple[int, ...]
    wave_fve: Float[np.ndarray, " group"]
    logit_share: Float[np.ndarray, " group"]
    pair: tuple[int, int]
    pair_logits: Float[np.ndarray, "group class"]

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, pair: tuple[int, int] = PAIR, waves: int = 64
    ) -> "NeuronWaves":
        """Measures one snapshot's neurons.

        Args:
            snapshot: A model of modular arithmetic with one layer of neurons, a and b its first two
                tokens. (Of several layers, what the first reads stands beside what the last writes,
                and groups mean little.)
            pair: The (a, b) whose logits are kept by group, as positions in an order in which the
                operation is addition, modulo its length.
            waves: How many neurons' waves are kept, at most.

        Raises:
            ValueError: No waves are to be kept.
        """
        if waves < 1:
            raise ValueError(f"waves = {waves}: keep one at least")
        read, written = operand_reads(snapshot), class_writes(snapshot)
        frequency, purity, ipr = best_frequencies(coefficients(read).abs().square().sum(0))
        written_frequency, written_purity, written_ipr = best_frequencies(
            coefficients(written).abs().square()
        )
        sizes = read.square().sum((0, 1)).sqrt() * written.norm(dim=0)
        largest = sizes.argsort(descending=True, stable=True)[:waves]
        shown = largest[frequency[largest].argsort(stable=True)]
        groups = keys_by_vote(frequency)
        pair = pair[0] % len(written), pair[1] % len(written)
        return cls(
            frequency=frequency.numpy(),
            written_frequency=written_frequency.numpy(),
            purity=purity.numpy(),
            written_purity=written_purity.numpy(),
            ipr=ipr.numpy(),
            written_ipr=written_ipr.numpy(),
            shown=shown.numpy(),
            reads=read[0][:, shown].T.float().numpy(),
            writes=written[:, shown].T.float().numpy(),
            groups=groups,
            **explained(snapshot, written, frequency, groups),
            pair=pair,
            pair_logits=pair_logits(snapshot, pair, written, frequency, groups).numpy(),
        )

    @property
    def is_silent(self) -> Bool[np.ndarray, " neuron"]:
        """Which neurons read nothing, or write nothing, that varies over residues."""
        return (self.frequency == 0) | (self.written_frequency == 0)

    def summary(self) -> dict[str, float | str]:
        """Groups, purity and participation, and how much of the logits their waves explain.

        Silent neurons are counted; of the rest, `frequency_match` is the share that write the
        frequency that they read. Means are over neurons that have a frequency on that side. NaN
        where none has, and where groups add nothing to the logits.
        """
        return {
            "neurons": len(self.frequency),
            "groups": len(self.groups),
            "largest_group": int((self.frequency == self.groups[0]).sum()) if self.groups else 0,
            "silent_neurons": int(self.is_silent.sum()),
            "frequency_match": self.frequency_match,
            "mean_purity": defined_mean(self.purity),
            "mean_written_purity": defined_mean(self.written_purity),
            "mean_ipr": defined_mean(self.ipr),
            "mean_written_ipr": defined_mean(self.written_ipr),
            "wave_fve": self.total_wave_fve,
        }

    @property
    def frequency_match(self) -> float:
        """Share of neurons, silent ones left out, that write the frequency that they read."""
        return defined_mean((self.frequency == self.written_frequency)[~self.is_silent])

    @property
    def random_match(self) -> float:
        """The same where what neurons read and what they write were paired at random."""
        read, written = self.frequency[~self.is_silent], self.written_frequency[~self.is_silent]
        return defined_mean((read[:, None] == written).astype(float))

    @property
    def total_wave_fve(self) -> float:
        """How much of the logits the waves of all groups explain, by the groups' shares."""
        parts = self.wave_fve * self.logit_share
        return np.nan if np.isnan(parts).all() else float(np.nansum(parts))

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Whether neurons write the frequency they read, and groups the wave of the answer."""
        before = untrained if isinstance(untrained, NeuronWaves) else None
        return (*self._wave_of_answer(before), *self._matching())

    def _wave_of_answer(self, untrained: "NeuronWaves | None") -> tuple[Finding, ...]:
        explained = self.total_wave_fve
        control = np.nan if untrained is None else untrained.total_wave_fve
        if np.isnan([explained, control]).any():
            return ()
        text = (
            f"The wave that peaks at the answer is {percent(explained)} of what neurons of each "
            f"frequency together add to the logits (untrained: {percent(control)})"
        )
        strength = strength_beside(explained, control, margin=WAVE_MARGIN)
        return (Finding(text, strength, figure="logits"),)

    def _matching(self) -> tuple[Finding, ...]:
        match, control = self.frequency_match, self.random_match
        if np.isnan([match, control]).any():
            return ()
        text = (
            f"{percent(match)} of neurons write the frequency that they read "
            f"(paired at random: {percent(control)})"
        )
        error = np.sqrt(control * (1 - control) / int((~self.is_silent).sum()))
        strength = strength_beside(match, control, margin=ERRORS * float(error))
        return (Finding(text, strength, figure="writes"),)

    def figures(self) -> Mapping[str, Drawing]:
        """Waves by group, the groups' sizes, and their parts of one pair's logits."""
        counts = {group: int((self.frequency == group).sum()) for group in sorted(self.groups)}
        listed = ", ".join(f"{group} ({count})" for group, count in counts.items())
        return {
            "reads": self._waves("read from residues of the first operand", self.reads, "residue"),
            "writes": self._waves("write to classes", self.writes, "class"),
            "groups": bars(
                list(counts),
                {"neurons": list(counts.values())},
                title=f"Neurons read {len(counts)} frequencies"
                + (f": {listed}" if len(counts) <= 8 else ""),
                axes=("frequency (cycles per modulus)", "neurons"),
            ),
            "logits": self._logits(),
        }

    @property
    def _drawn_groups(self) -> list[int]:
        return sorted(self.groups[:MAX_GROUPS_DRAWN])

    def _waves(self, verb: str, waves: Float[np.ndarray, "shown place"], axis: str) -> Drawing:
        places, frequency = np.arange(waves.shape[1]), self.frequency[self.shown]
        panels = {
            f"frequency {group}": [
                strands(
                    ((places, wave) for wave in waves[frequency == group]),
                    "neuron",
                    {"color": PALETTE[0], "width": 1.5},
                )
            ]
            for group in self._drawn_groups
        }
        if not panels:
            return empty(f"What single neurons {verb}", "no neuron reads any frequency")
        left_out = len(self.groups) - len(panels)
        more = f" ({left_out} smaller groups left out)" if left_out else ""
        return multiples(
            panels, title=f"What single neurons {verb}{more}", axes=(axis, "weight"), columns=3
        )

    def _logits(self) -> Drawing:
        """One pair's logits by group and together; the right answer is marked."""
        (a, b), n = self.pair, self.pair_logits.shape[1]
        fill = [PALETTE[1] if c == (a + b) % n else PALETTE[2] for c in range(n)]
        logits = {"all neurons": self.pair_logits.sum(0)} | {
            f"frequency {group}": self.pair_logits[self.groups.index(group)]
            for group in self._drawn_groups
        }
        return multiples(
            {
                name: [bar(np.arange(n), part, fill) | {"name": "logit"}]
                for name, part in logits.items()
            },
            title=f"Logits of ({a}, {b}) by group of neurons; the answer is {(a + b) % n}",
            axes=("class", "logit, centred"),
            columns=3,
        )


def group_logits(
    post: Float[Tensor, "batch neuron"],
    writes: Float[Tensor, "class neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> Float[Tensor, "group batch class"]:
    """Each group's part of the logits, centred over classes.

    Args:
        post: Activations of neurons.
        writes: What each neuron adds to each class' logit.
        frequency: Each neuron's group.
        groups: Frequencies of the groups.
    """
    if not groups:
        return post.new_zeros(0, len(post), len(writes))
    parts = torch.stack([(post * (frequency == group)) @ writes.T for group in groups])
    return parts - parts.mean(-1, keepdim=True)


def explained(
    snapshot: Snapshot,
    writes: Float[Tensor, "class neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> dict[str, Float[np.ndarray, " group"]]:
    """How much of each group's part its wave explains, and how large the part is.

    Returns:
        `wave_fve`, NaN for a group that adds nothing, and `logit_share`, NaN where no group adds
        anything: the fields of `NeuronWaves`.
    """
    examples, n = snapshot.examples, len(writes)
    # places[operand, residue] is where the residue stands in its operand's order.
    places = torch.full((2, examples.facts(ModularFacts).p), -1).scatter(
        1, torch.stack(orders_of(examples.facts)[:2]), torch.arange(n).expand(2, n)
    )
    a, b = places[0, examples.label("a")], places[1, examples.label("b")]
    has_place = (a >= 0) & (b >= 0)  # of products, 0 has no logarithm
    parts = group_logits(answering_neurons(snapshot)[has_place], writes, frequency, groups)
    angles = (a + b)[has_place, None] - torch.arange(n)
    waves = (2 * torch.pi / n * torch.tensor(groups)[:, None, None] * angles.double()).cos()
    inner = einsum(parts, waves, "g batch c, g batch c -> g")
    norms = parts.square().sum((1, 2))
    return {
        "wave_fve": (inner.square() / waves.square().sum((1, 2)) / norms).numpy(),
        "logit_share": (norms / norms.sum()).numpy(),
    }


def pair_logits(
    snapshot: Snapshot,
    pair: tuple[int, int],
    writes: Float[Tensor, "class neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> Float[Tensor, "group class"]:
    """The groups' parts of the logits of one pair, which need not be among the examples."""
    first = snapshot.examples.head(1)
    assert first.tokens is not None  # NeuronWaves needs tokens
    orders, tokens = orders_of(first.facts), first.tokens.clone()
    tokens[0, :2] = torch.stack([order[place] for order, place in zip(orders, pair, strict=False)])
    pair_alone = snapshot.on(replace(first, tokens=tokens))
    return group_logits(answering_neurons(pair_alone), writes, frequency, groups)[:, 0]
