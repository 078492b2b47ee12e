"""Which wave does each neuron read and write, and what do the neurons of one frequency add up to?

Waves of single neurons over residues and classes, neurons in groups by the frequency they read
most, how pure each is, and each group's share of the logits: for a pair (a, b), and over pairs how
much of it is cos w_f(a + b - c).

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), whose notebook
takes the largest single coefficient for a neuron's frequency; here cosine and sine count together.
Gromov 2023 (arXiv:2301.02679) for the inverse participation ratio.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses import plots
from analyses.fourier.basis import best_frequencies, keys_by_vote, orders_of
from analyses.neurons.phases import class_writes, coefficients, operand_reads
from analyses.plots.panels import Trace, multiples, strands
from analyses.plots.style import PALETTE, bar
from analyses.requirements import Needs, check_needs
from analyses.result import Drawing, Result
from analyses.statistics import defined_mean
from hooks import ModularFacts, Snapshot

# from analyses/neurons/groups.py:
# The logits as a sum over groups of neurons, one group a frequency.
#
# Classes and residues stand in an order in which the operation is addition. What a group adds is
# compared with cos w_f(a + b - c), the wave that peaks at the answer.
#
# Source: "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), which masks the hidden
# layer by group and draws the logits of one pair.
#

PAIR = (13, 19)  # the article's
THIN = {"color": PALETTE[0], "width": 1.5}
PANELS = 6  # groups drawn, the largest


@dataclass(frozen=True, eq=False)
class NeuronWaves(Result):
    """Waves of neurons, grouped by frequency.

    Residues and classes stand in an order in which the operation is addition.

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
        reads: Of these, what each reads from each residue of the first operand.
        writes: Of these, what each adds to each class' logit.
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
    writes: Float[np.ndarray, "shown residue"]
    groups: tuple[int, ...]
    wave_fve: Float[np.ndarray, " group"]
    logit_share: Float[np.ndarray, " group"]
    pair: tuple[int, int]
    pair_logits: Float[np.ndarray, "group residue"]

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        pair: tuple[int, int] = PAIR,
        waves: int = 64,
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
        check_needs(cls, snapshot)
        if waves < 1:
            raise ValueError(f"waves = {waves}: keep one at least")
        read, written = operand_reads(snapshot), class_writes(snapshot)
        power = [coefficients(each).abs().square() for each in (read, written)]
        frequency, purity, ipr = best_frequencies(power[0].sum(0))
        written_frequency, written_purity, written_ipr = best_frequencies(power[1])
        sizes = read.square().sum((0, 1)).sqrt() * written.norm(dim=0)
        largest = sizes.argsort(descending=True, stable=True)[:waves]
        shown = largest[frequency[largest].argsort(stable=True)]
        groups = keys_by_vote(frequency)
        n = len(written)
        chosen = pair[0] % n, pair[1] % n
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
            pair=chosen,
            pair_logits=pair_logits(snapshot, chosen, written, frequency, groups).numpy(),
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
        matched = (self.frequency == self.written_frequency)[~self.is_silent]
        parts = self.wave_fve * self.logit_share
        return {
            "neurons": len(self.frequency),
            "groups": len(self.groups),
            "largest_group": int((self.frequency == self.groups[0]).sum()) if self.groups else 0,
            "silent_neurons": int(self.is_silent.sum()),
            "frequency_match": defined_mean(matched),
            "mean_purity": defined_mean(self.purity),
            "mean_written_purity": defined_mean(self.written_purity),
            "mean_ipr": defined_mean(self.ipr),
            "mean_written_ipr": defined_mean(self.written_ipr),
            "wave_fve": math.nan if np.isnan(parts).all() else float(np.nansum(parts)),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a neuron: `neuron`, and the six fields that tell of each."""
        names = ("frequency", "written_frequency", "purity", "written_purity", "ipr", "written_ipr")
        columns = {name: getattr(self, name) for name in names}
        return pd.DataFrame({"neuron": np.arange(len(self.frequency))} | columns)

    def figures(self) -> Mapping[str, Drawing]:
        """Waves by group, the groups' sizes, and their parts of one pair's logits."""
        counts = {group: int((self.frequency == group).sum()) for group in sorted(self.groups)}
        told = ", ".join(f"{group} ({count})" for group, count in counts.items())
        few = f": {told}" if len(counts) <= 8 else ""
        return {
            "reads": self._waves("read from residues of the first operand", self.reads, "residue"),
            "writes": self._waves("write to classes", self.writes, "class"),
            "groups": plots.bars(
                list(counts), {"neurons": list(counts.values())},
                title=f"Neurons read {len(counts)} frequencies{few}",
                axes=("frequency (cycles per modulus)", "neurons"),
            ),
            "logits": self._logits(),
        }  # fmt: skip

    @property
    def _largest(self) -> list[int]:
        """Groups that are drawn, by frequency."""
        return sorted(self.groups[:PANELS])

    def _waves(self, verb: str, waves: Float[np.ndarray, "shown residue"], axis: str) -> Drawing:
        places, own = np.arange(waves.shape[1]), self.frequency[self.shown]
        panels: dict[str, list[Trace]] = {
            f"frequency {group}": [
                strands(((places, each) for each in waves[own == group]), "neuron", THIN)
            ]
            for group in self._largest
        }
        if not panels:
            return plots.empty(f"What single neurons {verb}", "no neuron reads any frequency")
        left = len(self.groups) - len(panels)
        more = f" ({left} smaller groups left out)" if left else ""
        return multiples(
            panels, title=f"What single neurons {verb}{more}", axes=(axis, "weight"), columns=3
        )

    def _logits(self) -> Drawing:
        """One pair's logits by group and together; the right answer is marked."""
        a, b = self.pair
        n = self.pair_logits.shape[1]
        fill = [PALETTE[1] if c == (a + b) % n else PALETTE[2] for c in range(n)]
        rows = {f"frequency {group}": self.groups.index(group) for group in self._largest}
        panels: dict[str, list[Trace]] = {
            "all neurons": [bar(np.arange(n), self.pair_logits.sum(0), fill) | {"name": "logit"}]
        }
        for name, row in rows.items():
            panels[name] = [bar(np.arange(n), self.pair_logits[row], fill) | {"name": "logit"}]
        return multiples(
            panels, title=f"Logits of ({a}, {b}) by group of neurons; the answer is {(a + b) % n}",
            axes=("class", "logit, centred"), columns=3,
        )  # fmt: skip


def group_logits(
    post: Float[Tensor, "batch neuron"],
    writes: Float[Tensor, "residue neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> Float[Tensor, "group batch residue"]:
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
    writes: Float[Tensor, "residue neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> dict[str, Float[np.ndarray, " group"]]:
    """How much of each group's part its wave explains, and how large the part is.

    Returns:
        `wave_fve`, NaN for a group that adds nothing, and `logit_share`, NaN where no group adds
        anything: the fields of `NeuronWaves`.
    """
    examples, facts = snapshot.examples, snapshot.examples.facts(ModularFacts)
    orders, p, n = orders_of(facts), facts.p, len(writes)
    places = torch.full((2, p), -1)
    for row, order in zip(places, orders, strict=False):
        row[order] = torch.arange(n)
    a, b = places[0, examples.label("a")], places[1, examples.label("b")]
    known = (a >= 0) & (b >= 0)  # of products, 0 has no logarithm
    parts = group_logits(_post(snapshot)[known], writes, frequency, groups)
    angles = (a + b)[known, None] - torch.arange(n)
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
    writes: Float[Tensor, "residue neuron"],
    frequency: Int[Tensor, " neuron"],
    groups: tuple[int, ...],
) -> Float[Tensor, "group residue"]:
    """The groups' parts of the logits of one pair, which need not be among the examples."""
    orders = orders_of(snapshot.examples.facts(ModularFacts))
    first = snapshot.examples.head(1)
    assert first.tokens is not None  # by its needs
    tokens = first.tokens.clone()
    tokens[0, :2] = torch.stack([order[place] for order, place in zip(orders, pair, strict=False)])
    post = _post(snapshot.on(replace(first, tokens=tokens)))
    return group_logits(post, writes, frequency, groups)[:, 0]


def _post(snapshot: Snapshot) -> Float[Tensor, "batch neuron"]:
    name = f"blocks.{snapshot.config.n_layers - 1}.mlp.hook_post"
    return snapshot.cache([name])[name][:, -1].double().cpu()
