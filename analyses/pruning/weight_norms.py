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

from analyses.plots import bars
from analyses.result import Drawing, Result
from analyses.statistics import ratio
from hooks import Snapshot


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

    def figures(self) -> Mapping[str, Drawing]:
        """Norm of each matrix beside that at the first step; of each of several layers."""
        shown = (self.norms > 0) | (self.first_norms > 0)
        drawn = {
            "matrices": bars(
                [name.removeprefix("blocks.") for name in np.array(self.names)[shown]],
                {"first step": self.first_norms[shown], "this step": self.norms[shown]},
                title=f"Weights: norm {self.total():.1f}, {self.growth():.2f} times the first "
                "step's",
                axes=("", "L2 norm"),
            )
        }
        if self.n_layers > 1:
            drawn["layers"] = bars(
                [f"layer {layer}" for layer in range(self.n_layers)],
                {"norm": self.layer_norms()},
                title="Norm of each layer, embeddings left out",
                axes=("", "L2 norm"),
            )
        return drawn
