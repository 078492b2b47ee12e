"""Do the neurons of a frequency lie evenly on a circle, and does the output turn twice as fast?

Each neuron's cosine and sine coefficient at the frequency it reads most, for what it reads and
what it writes. A circuit that adds on a circle has neurons of equal size at even angles, and
output angles that are the sum of the input angles (`analyses.neurons.phases`): five neurons make
a pentagon on the input side and a pentagram on the output side.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), five neurons
and circles by frequency. The numbers by which a circle is judged are ours.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int

from analyses.fourier.basis import best_frequencies
from analyses.neurons.adding_network import adding_network, construction_of
from analyses.neurons.phases import (
    class_writes,
    coefficients,
    gap_variation,
    operand_reads,
    order_parameter,
    own_coefficients,
    phase_sums,
    variation,
)
from analyses.plots.panels import SYMBOLS, Trace, multiples
from analyses.plots.style import MUTED, PALETTE, colour, line, plain
from analyses.requirements import Needs, check_needs
from analyses.result import Drawing, Result
from analyses.statistics import SIZE_FLOOR
from hooks import ModularFacts, Snapshot

MEASURES = ("order_parameter", "input_norm_variation", "output_norm_variation", "gap_variation")
STAR = {"color": PALETTE[0], "width": 2}
GROUPS = 6  # circles drawn, the largest groups
FEWEST = 3  # neurons that make a circle


@dataclass(frozen=True, eq=False)
class NeuronCircle(Result):
    """Neurons by the frequency they read most, as points on circles.

    Attributes:
        modulus: Residues in play.
        frequency: The frequency that each neuron reads most; 0 for one that reads nothing which
            varies over residues.
        written_frequency: The frequency that it writes most; 0 for one that writes no such thing.
        is_active: Which neurons belong to a group: those whose size, what they read times what they
            write at the frequency they read, is at least `least` of the largest, and more than
            rounding beside it.
        reads: Cosine and sine coefficient of what each neuron reads from each operand there.
        writes: The same of what it writes.
        least: Share of the largest size below which a neuron is in no group.
        construction: Of a circle written by hand, its modulus, neurons, nonlinearity and frequency
            (`p`, `d_mlp`, `act_fn`, `frequency`); empty for other networks.
    """

    needs: ClassVar = Needs(facts={ModularFacts: ("wave",)}, weights=("neuron_in", "neuron_out"))
    sliding: ClassVar = ("phases",)

    modulus: int
    frequency: Int[np.ndarray, " neuron"]
    written_frequency: Int[np.ndarray, " neuron"]
    is_active: Bool[np.ndarray, " neuron"]
    reads: Float[np.ndarray, "operand neuron 2"]
    writes: Float[np.ndarray, "neuron 2"]
    least: float
    construction: dict[str, Any]

    @classmethod
    def measure(cls, snapshot: Snapshot, *, least: float = 0.05) -> "NeuronCircle":
        """Measures one snapshot's weights.

        Args:
            snapshot: A model of modular arithmetic with neurons.
            least: Share of the largest size below which a neuron is in no group, from 0 to 1.

        Raises:
            ValueError: `least` is out of range, or no neuron reads and writes anything.
        """
        check_needs(cls, snapshot)
        if not 0 <= least <= 1:
            raise ValueError(f"least = {least}: a share is from 0 to 1")
        inward, outward = (
            coefficients(each) for each in (operand_reads(snapshot), class_writes(snapshot))
        )
        frequency = best_frequencies(inward.abs().square().sum(0))[0]
        reads, writes = (own_coefficients(each, frequency) for each in (inward, outward))
        sizes = reads.abs().square().sum(0).sqrt() * writes.abs()
        if not sizes.any():
            raise ValueError("no neuron writes the frequency it reads: there is no circle")
        return cls(
            modulus=snapshot.weights("neuron_out").shape[1],
            frequency=frequency.numpy(),
            written_frequency=best_frequencies(outward.abs().square())[0].numpy(),
            is_active=(sizes >= max(least, SIZE_FLOOR) * sizes.max()).numpy(),
            reads=torch.view_as_real(reads).numpy(),
            writes=torch.view_as_real(writes).numpy(),
            least=least,
            construction=construction_of(snapshot.config, snapshot.examples.facts(ModularFacts).p),
        )

    @property
    def groups(self) -> dict[int, Int[np.ndarray, " member"]]:
        """Active neurons by frequency, in the order of their input angle, largest group first."""
        angles = self._phases()[0]
        found = {
            int(each): np.flatnonzero(self.is_active & (self.frequency == each))
            for each in np.unique(self.frequency[self.is_active])
        }
        ordered = sorted(found.items(), key=lambda item: -len(item[1]))
        return {each: own[np.argsort(angles[own], kind="stable")] for each, own in ordered}

    def circles(self) -> pd.DataFrame:
        """One row a group: `frequency`, `neurons`, and how much of a circle it is.

        `order_parameter` is 1 where output angles are the sums of input angles;
        `input_norm_variation` and `output_norm_variation` are 0 where all neurons are of one size,
        `gap_variation` where their input angles are even.
        """
        return pd.DataFrame([
            {"frequency": frequency, "neurons": len(own)} | self._circle(own)
            for frequency, own in self.groups.items()
        ])  # fmt: skip

    def summary(self) -> dict[str, float | str]:
        """Neurons and groups, and the means over neurons of what circles tell of their groups.

        Silent neurons read nothing, or write nothing, that varies over residues: they are in no
        group. Means are over groups of at least three neurons; NaN where there is none.
        """
        told = self.circles()
        sizes = told["neurons"].to_numpy()
        weights = sizes * (sizes >= FEWEST)
        matched = self.written_frequency == self.frequency
        return {
            "neurons": len(self.frequency),
            "active_neurons": int(self.is_active.sum()),
            "silent_neurons": int((self.frequency * self.written_frequency == 0).sum()),
            "groups": len(told),
            "frequencies": " ".join(map(str, told["frequency"])),
            "frequency_match": float(matched[self.is_active].mean()),
            **{name: _mean(told[name].to_numpy(), weights) for name in MEASURES},
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a neuron: frequencies, `is_active`, sizes and angles (radians) in and out."""
        angles, written = self._phases()
        return pd.DataFrame(
            {
                "neuron": np.arange(len(self.frequency)),
                "frequency": self.frequency,
                "written_frequency": self.written_frequency,
                "is_active": self.is_active,
                "input_size": np.linalg.norm(self.reads, axis=(0, 2)),
                "output_size": np.linalg.norm(self.writes, axis=1),
                "input_angle": angles,
                "output_angle": written,
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Output against input angles, circles of both sides, and a circle to try by hand."""
        summary = self.summary()
        drawn: dict[str, Drawing] = {
            "phases": self._phase_figure(float(summary["order_parameter"])),
            "inputs": self._circle_figure("read", self.reads[0]),
            "outputs": self._circle_figure("write", self.writes),
        }
        return ({"network": adding_network(self.construction)} if self.construction else {}) | drawn

    def _phases(self) -> tuple[np.ndarray, np.ndarray]:
        """The first operand's angle and the written one, in radians from 0 to 2 pi."""
        first, written = (
            np.arctan2(each[:, 1], each[:, 0]) for each in (self.reads[0], self.writes)
        )
        return first % (2 * math.pi), written % (2 * math.pi)

    def _circle(self, own: Int[np.ndarray, " member"]) -> dict[str, float]:
        reads = torch.view_as_complex(torch.from_numpy(self.reads[:, own]))
        writes = torch.view_as_complex(torch.from_numpy(self.writes[own]))
        return dict(zip(MEASURES, (
            order_parameter(reads, writes),
            variation(reads.abs().square().sum(0).sqrt()),
            variation(writes.abs()),
            gap_variation(reads[0].angle()),
        ), strict=True))  # fmt: skip

    def _phase_figure(self, order: float) -> Drawing:
        reads = torch.view_as_complex(torch.from_numpy(self.reads))
        sums = np.degrees(phase_sums(reads).numpy()) % 360
        written = np.degrees(self._phases()[1])
        traces = [line([0, 360], [0, 360], "phases add", {"color": MUTED, "width": 1})]
        for index, (frequency, own) in enumerate(list(self.groups.items())[:GROUPS]):
            traces.append(_dots(sums[own], written[own], f"frequency {frequency}", index))
        twice = "twice the input angle" if len(self.reads) == 1 else "the sum of the input angles"
        return multiples(
            {"": traces}, title=f"Output angles are {twice}: order {order:.3f} of 1",
            axes=(f"{twice} (degrees)", "output angle (degrees)"),
            xaxis={"range": [-5, 365]}, yaxis={"range": [-5, 365]},
        )  # fmt: skip

    def _circle_figure(self, side: str, points: Float[np.ndarray, "neuron 2"]) -> Drawing:
        """A panel a group: neurons joined in the order of their input angles."""
        panels: dict[str, list[Trace]] = {}
        for frequency, own in list(self.groups.items())[:GROUPS]:
            x, y = points[[*own, *own[:1]]].T
            joined = line(x, y, f"what neurons {side}", STAR) | {"mode": "lines+markers"}
            panels[f"frequency {frequency}: {len(own)} neurons"] = [joined]
        figure = multiples(
            panels, title=f"What neurons {side}, joined in the order of their input angles",
            axes=("cosine coefficient", "sine coefficient"), columns=3,
        )  # fmt: skip
        return figure.update_layout(yaxis={"scaleanchor": "x", "constrain": "domain"})


def _dots(x: np.ndarray, y: np.ndarray, name: str, index: int) -> Trace:
    marker = {"color": colour(index), "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8}
    places = {"x": plain(x), "y": plain(y)}
    return {"type": "scatter", "mode": "markers", "name": name, "marker": marker} | places


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.average(values, weights=weights)) if weights.any() else math.nan
