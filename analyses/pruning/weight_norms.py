"""How large are the weights, and how have they grown?

L2 norm by matrix, by layer and in total, root mean square of a matrix, and growth since the first
snapshot.

Source: Murty et al. 2023 (arXiv:2305.18741) divide the total by the number of layers, which by
itself puts shallow models above deep ones before any training; that is an option here, and growth
and root mean square stand beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.findings import Finding
from analyses.plots import MUTED, PALETTE, Trace, bars, dots, multiples, ticks
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import ratio
from hooks import Snapshot

CHANGED = 0.1  # share of the first norm by which the total must differ to count as changed
SPREAD = 0.5  # share of the room of a kind of matrix over which its layers stand side by side
AIR = 1.08  # how far the ordinate goes beyond the largest norm
SLANT = -45  # degrees by which names are turned
MATRICES_HEIGHT = 420  # pixels of the figure of all matrices, whose names are slanted


@dataclass(frozen=True, eq=False)
class WeightNorms(Result):
    """L2 norms of a model's parameters.

    A row of the table is a parameter.

    Attributes:
        names: Names of the parameters, in the model's order.
        norms: L2 norm of each parameter.
        sizes: How many weights each parameter has.
        first_norms: L2 norms at the first snapshot.
        n_layers: Number of layers.
        is_per_layer: Whether totals are divided by `n_layers`.
    """

    columns: ClassVar = {"norm": "norms", "rms": "root_mean_squares", "growth": "growths"}
    reference: ClassVar = "first"
    sliding: ClassVar = ("matrices",)

    names: tuple[str, ...]
    norms: Float[np.ndarray, " name"]
    sizes: Int[np.ndarray, " name"]
    first_norms: Float[np.ndarray, " name"]
    n_layers: int
    is_per_layer: bool

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, reference: "WeightNorms | None" = None, per_layer: bool = False
    ) -> "WeightNorms":
        """Measures one snapshot's parameters.

        Args:
            snapshot: Any model.
            reference: The first snapshot's norms, for growth; without it growth is 1.
            per_layer: Divide totals by the number of layers.
        """
        parameters = snapshot.parameters()
        norms = np.array([float(weights.double().norm()) for weights in parameters.values()])
        return cls(
            names=tuple(parameters),
            norms=norms,
            sizes=np.array([weights.numel() for weights in parameters.values()]),
            first_norms=reference.norms if reference else norms,
            n_layers=snapshot.config.n_layers,
            is_per_layer=per_layer,
        )

    @property
    def root_mean_squares(self) -> Float[np.ndarray, " name"]:
        """Root mean square of each parameter's weights."""
        return self.norms / np.sqrt(self.sizes)

    @property
    def growths(self) -> Float[np.ndarray, " name"]:
        """Each norm over that of the first snapshot; NaN where that is 0."""
        return self.norms / np.where(self.first_norms > 0, self.first_norms, np.nan)

    @property
    def is_embedding(self) -> Bool[np.ndarray, " name"]:
        """Which parameters embed, place or unembed."""
        return np.array(
            [name.startswith(("embed.", "pos_embed.", "unembed.")) for name in self.names]
        )

    def total(self, *, embeddings: bool = True, first: bool = False) -> float:
        """L2 norm of all parameters together.

        Args:
            embeddings: Whether embedding and unembedding count.
            first: Of the first snapshot instead.
        """
        norms = self.first_norms if first else self.norms
        counted = norms if embeddings else norms[~self.is_embedding]
        return float(np.linalg.norm(counted)) / (self.n_layers if self.is_per_layer else 1)

    def growth(self, *, embeddings: bool = True) -> float:
        """The total over that of the first snapshot; NaN where that is 0."""
        return ratio(
            self.total(embeddings=embeddings), self.total(embeddings=embeddings, first=True)
        )

    def layer_norms(self) -> Float[np.ndarray, " layer"]:
        """L2 norm of each layer's parameters."""
        return np.array(
            [
                np.linalg.norm(self.norms[[name.startswith(f"blocks.{i}.") for name in self.names]])
                for i in range(self.n_layers)
            ]
        )

    def summary(self) -> dict[str, float | str]:
        """Totals with and without embeddings, root mean square, growth since the first step.

        Growth is NaN where there was nothing at the first step.
        """
        return {
            "total": self.total(),
            "total_without_embeddings": self.total(embeddings=False),
            "rms": float(np.sqrt((self.norms**2).sum() / self.sizes.sum())),
            "growth": self.growth(),
            "growth_without_embeddings": self.growth(embeddings=False),
            "divided_by_layers": "yes" if self.is_per_layer else "no",
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The total norm beside that of the first step, with embeddings and without.

        Found where the total differs by more than a tenth; not found otherwise. Nothing is said at
        the first step itself, or where its norm is 0.
        """
        if np.array_equal(self.norms, self.first_norms) or not np.isfinite(self.growth()):
            return ()
        inner = self.growth(embeddings=False)
        without = "" if np.isnan(inner) else f"; without embeddings {inner:.2f} times"
        has_changed = abs(self.growth() - 1) > CHANGED
        return (Finding(self._total_in_words + without, "found" if has_changed else "not found",
                        "matrices"),)  # fmt: skip

    @property
    def _total_in_words(self) -> str:
        """The total norm beside that of the first step."""
        if np.isnan(self.growth()):
            return f"The norm of all weights is {self.total():.3g}, at the first step 0"
        return (
            f"The norm of all weights is {self.total():.3g}, {self.growth():.2f} times that at "
            f"the first step, {self.total(first=True):.3g}"
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Norm of each matrix beside that at the first step; of each of several layers."""
        drawn = {"matrices": self._matrices()}
        if self.n_layers > 1:
            drawn["layers"] = bars(
                [f"layer {layer}" for layer in range(self.n_layers)],
                {"norm": self.layer_norms()},
                title="Norm of each layer, embeddings left out",
                axes=("", "L2 norm"),
            )
        return drawn

    def _matrices(self) -> Drawing:
        """A column for each kind of parameter, in it two dots for each layer that has one."""
        shown = np.flatnonzero((self.norms > 0) | (self.first_norms > 0))
        kinds = list(dict.fromkeys(_kind(self.names[place]) for place in shown))
        x = [kinds.index(_kind(self.names[p])) + self._offset(self.names[p]) for p in shown]
        texts = [
            f"{self.names[p]}: {self.norms[p]:.3g}, at the first step {self.first_norms[p]:.3g}"
            for p in shown
        ]
        looks: dict[str, tuple[np.ndarray, Trace]] = {
            "first step": (self.first_norms, {"color": MUTED, "size": 9}),
            "this step": (self.norms, {"color": PALETTE[0], "size": 7, "symbol": "diamond"}),
        }
        top = float(np.nan_to_num([self.norms, self.first_norms], posinf=0).max())
        several = ", layers from left to right" if self.n_layers > 1 else ""
        return multiples(
            {
                "": [
                    dots(x, norms[shown], name, marker, texts)
                    for name, (norms, marker) in looks.items()
                ]
            },
            title=self._total_in_words,
            axes=(f"parameter{several}", "L2 norm"),
            height=MATRICES_HEIGHT,
            xaxis=ticks(kinds) | {"tickangle": SLANT},
            yaxis={"range": [0, AIR * top or 1]},
        )

    def _offset(self, name: str) -> float:
        """How far a parameter stands from the middle of its kind, by its layer."""
        if not name.startswith("blocks.") or self.n_layers == 1:
            return 0.0
        return SPREAD * (int(name.split(".")[1]) / (self.n_layers - 1) - 0.5)


def _kind(name: str) -> str:
    """A parameter's name without its layer: attn.W_Q."""
    return name.split(".", 2)[2] if name.startswith("blocks.") else name
