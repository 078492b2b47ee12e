"""Do the neurons of a frequency lie evenly on a circle, and does the output turn twice as fast?

Each neuron's cosine and sine coefficient at the frequency it reads most, for what it reads and
what it writes. A circuit that adds on a circle has neurons of equal size at even angles, and
output angles that are the sum of the input angles (`analyses.neurons.phases`): five neurons make
a pentagon on the input side and a pentagram on the output side.

Source: the article "Do Machine Learning Models Memorize or Generalize?" (PAIR 2023), five neurons
and circles by frequency. The numbers by which a circle is judged are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Complex128, Float, Int
from torch import Tensor

from analyses.findings import Finding, strength_beside
from analyses.fourier import best_frequencies, class_writes, keys_by_vote
from analyses.neurons.adding_network import adding_network, construction_of
from analyses.neurons.phases import (
    coefficients,
    coefficients_at,
    gap_variation,
    operand_reads,
    order_parameter,
    phase_sums,
    variation,
)
from analyses.plots import MUTED, PALETTE, SYMBOLS, colour, dots, line, multiples
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import SIZE_FLOOR
from hooks import ModularFacts, Snapshot

if TYPE_CHECKING:
    import pandas

CIRCLE_MEASURES = (
    "order_parameter",
    "input_norm_variation",
    "output_norm_variation",
    "gap_variation",
)
MAX_GROUPS_DRAWN = 6  # the groups of most neurons
MIN_NEURONS_OF_CIRCLE = 3
ERRORS = 3  # standard deviations by which the order must exceed that of random angles
EVEN = 0.5  # of the variation of random gaps: at most this share of it counts as even


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
        reads: Cosine and sine coefficient of what each neuron reads from each operand at that
            frequency.
        writes: The same of what it writes.
        least: Share of the largest size below which a neuron is in no group.
        construction: Of a circle written by hand, its modulus, neurons, nonlinearity and frequency
            (`p`, `d_mlp`, `act_fn`, `frequency`); empty for other networks.
    """

    coordinates: ClassVar = {"coefficient": ("cosine", "sine")}
    needs: ClassVar = Needs(facts={ModularFacts: ("wave",)}, weights=("neuron_in", "neuron_out"))
    sliding: ClassVar = ("phases",)

    modulus: int
    frequency: Int[np.ndarray, " neuron"]
    written_frequency: Int[np.ndarray, " neuron"]
    is_active: Bool[np.ndarray, " neuron"]
    reads: Float[np.ndarray, "operand neuron coefficient=2"]
    writes: Float[np.ndarray, "neuron coefficient=2"]
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
        if not 0 <= least <= 1:
            raise ValueError(f"least = {least}: a share is from 0 to 1")
        inward = coefficients(operand_reads(snapshot))
        outward = coefficients(class_writes(snapshot))
        frequency = best_frequencies(inward.abs().square().sum(0))[0]
        reads, writes = (coefficients_at(side, frequency) for side in (inward, outward))
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
        by_angle = np.argsort(_angles(self.reads[0]), kind="stable")
        active = by_angle[self.is_active[by_angle]]
        largest_first = keys_by_vote(torch.from_numpy(self.frequency[active]))
        return {f: active[self.frequency[active] == f] for f in largest_first}

    def circles(self) -> "pandas.DataFrame":
        """One row a group: `frequency`, `neurons`, and how much of a circle it is.

        `order_parameter` is 1 where output angles are the sums of input angles;
        `input_norm_variation` and `output_norm_variation` are 0 where all neurons are of one size,
        `gap_variation` where their input angles are even.
        """
        import pandas

        reads, writes = _as_complex(self.reads), _as_complex(self.writes)
        return pandas.DataFrame(
            [
                (
                    frequency,
                    len(members),
                    order_parameter(reads[:, members], writes[members]),
                    variation(reads[:, members].abs().square().sum(0).sqrt()),
                    variation(writes[members].abs()),
                    gap_variation(reads[0, members].angle()),
                )
                for frequency, members in self.groups.items()
            ],
            columns=pandas.Index(["frequency", "neurons", *CIRCLE_MEASURES]),
        )

    def summary(self) -> dict[str, float | str]:
        """Neurons and groups, and means over neurons of the measures of their groups' circles.

        Silent neurons read nothing, or write nothing, that varies over residues: they are in no
        group. Means are over groups of at least three neurons; NaN where there is none.
        """
        circles = self.circles()
        sizes = circles["neurons"].to_numpy()
        weights = sizes * (sizes >= MIN_NEURONS_OF_CIRCLE)
        return {
            "neurons": len(self.frequency),
            "active_neurons": int(self.is_active.sum()),
            "silent_neurons": int((self.frequency * self.written_frequency == 0).sum()),
            "groups": len(circles),
            "frequencies": " ".join(map(str, circles["frequency"])),
            "frequency_match": float(
                (self.written_frequency == self.frequency)[self.is_active].mean()
            ),
            **{
                name: float(np.average(circles[name], weights=weights)) if weights.any() else np.nan
                for name in CIRCLE_MEASURES
            },
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Whether angles add, and whether they are even, beside random angles."""
        circles = self.circles()
        sizes = circles["neurons"].to_numpy(dtype=float)
        is_circle = sizes >= MIN_NEURONS_OF_CIRCLE
        if not is_circle.any():
            return ()
        order, gaps = (
            float(np.average(circles[name][is_circle], weights=sizes[is_circle]))
            for name in ("order_parameter", "gap_variation")
        )
        random_order, deviation, random_gaps = random_circles(sizes[is_circle])
        groups = f"{is_circle.sum()} group{'' if is_circle.sum() == 1 else 's'} by frequency"
        of = f"{sizes[is_circle].sum():.0f} neurons in {groups}"
        return (
            Finding(
                f"Output angles follow {self._sum_of_angles}: order {order:.2f} of 1 over {of} "
                f"(random angles: {random_order:.2f})",
                strength_beside(order, random_order, margin=ERRORS * deviation),
                figure="phases",
            ),
            Finding(
                f"Gaps between the input angles of neurons vary by {gaps:.2f} of their mean "
                f"(even angles: 0, random ones: {random_gaps:.2f})",
                "found" if gaps <= EVEN * random_gaps else "null",
                figure="inputs",
            ),
        )

    @property
    def _beside_random(self) -> str:
        """The order of as many random angles; empty where there are too few neurons."""
        sizes = np.array([len(members) for members in self.groups.values()], dtype=float)
        sizes = sizes[sizes >= MIN_NEURONS_OF_CIRCLE]
        return f" (random angles: {random_circles(sizes)[0]:.2f})" if len(sizes) else ""

    @property
    def _sum_of_angles(self) -> str:
        return "twice the input angle" if len(self.reads) == 1 else "the sum of the input angles"

    def to_frame(self) -> "pandas.DataFrame":
        """One row a neuron: frequencies, `is_active`, sizes and angles (radians) in and out."""
        return (
            super()
            .to_frame()
            .assign(
                input_size=np.linalg.norm(self.reads, axis=(0, 2)),
                output_size=np.linalg.norm(self.writes, axis=1),
                input_angle=_angles(self.reads[0]),
                output_angle=_angles(self.writes),
            )
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Output against input angles, circles of both sides, and a circle to try by hand."""
        return {
            **({"network": adding_network(self.construction)} if self.construction else {}),
            "phases": self._phase_figure(float(self.summary()["order_parameter"])),
            "inputs": self._circle_figure("read", self.reads[0]),
            "outputs": self._circle_figure("write", self.writes),
        }

    def _phase_figure(self, order: float) -> Drawing:
        sums = np.degrees(phase_sums(_as_complex(self.reads)).numpy()) % 360
        written = np.degrees(_angles(self.writes))
        twice = self._sum_of_angles
        return multiples(
            {
                "": [
                    line([0, 360], [0, 360], "phases add", {"color": MUTED, "width": 1}),
                    *(
                        dots(
                            sums[members],
                            written[members],
                            f"frequency {frequency}",
                            {"color": colour(index), "symbol": SYMBOLS[index], "size": 8},
                        )
                        for index, (frequency, members) in enumerate(
                            list(self.groups.items())[:MAX_GROUPS_DRAWN]
                        )
                    ),
                ]
            },
            title=f"Output angles against {twice}: order {order:.3f} of 1{self._beside_random}",
            axes=(f"{twice} (degrees)", "output angle (degrees)"),
            xaxis={"range": [-5, 365]},
            yaxis={"range": [-5, 365]},
        )

    def _circle_figure(
        self, side: str, points: Float[np.ndarray, "neuron coefficient=2"]
    ) -> Drawing:
        """A panel a group: neurons joined in the order of their input angles."""
        return multiples(
            {
                f"frequency {frequency}: {len(members)} neurons": [
                    line(x, y, f"what neurons {side}", {"color": PALETTE[0], "width": 2})
                    | {"mode": "lines+markers"}
                ]
                for frequency, members in list(self.groups.items())[:MAX_GROUPS_DRAWN]
                for x, y in [points[[*members, members[0]]].T]
            },
            title=f"What neurons {side}, joined in the order of their input angles",
            axes=("cosine coefficient", "sine coefficient"),
            columns=3,
        ).update_layout(yaxis={"scaleanchor": "x", "constrain": "domain"})


def random_circles(sizes: Float[np.ndarray, " group"]) -> tuple[float, float, float]:
    """What the measures of circles are where angles are random, over groups by their neurons.

    Of k random unit vectors the mean has a length of about sqrt(pi / 4k) with a variance of
    (1 - pi / 4) / k (Rayleigh). Gaps between k random angles vary by sqrt((k - 1) / (k + 1)).

    Args:
        sizes: Neurons of each group.

    Returns:
        The mean order parameter, its standard deviation, and the mean gap variation.
    """
    weights = sizes / sizes.sum()
    order = weights @ np.sqrt(np.pi / 4 / sizes)
    deviation = np.sqrt(weights**2 @ ((1 - np.pi / 4) / sizes))
    return float(order), float(deviation), float(weights @ np.sqrt((sizes - 1) / (sizes + 1)))


def _as_complex(
    pairs: Float[np.ndarray, "*axis coefficient=2"],
) -> Complex128[Tensor, "*axis"]:
    """Cosine and sine coefficients as complex numbers."""
    return torch.view_as_complex(torch.from_numpy(pairs))


def _angles(
    pairs: Float[np.ndarray, "neuron coefficient=2"],
) -> Float[np.ndarray, " neuron"]:
    """Angles of cosine and sine coefficients, in radians from 0 to 2 pi."""
    return np.arctan2(pairs[:, 1], pairs[:, 0]) % (2 * np.pi)
