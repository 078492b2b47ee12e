"""Which heads read what heads of earlier layers write?

A head writes W_OV = W_V W_O into the residual stream; queries, keys and values of later heads read
it. How well the two fit is the norm of their product over the product of their norms, beside what
random matrices of the same shapes give. Rows are vectors, as in TransformerLens; W_QK = W_Q W_K^T.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits": Q-, K- and
V-composition in two-layer models, drawn there with the value of random matrices subtracted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import networkx as nx
import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float

from analyses import plots
from analyses.attention.composition import (
    KINDS,
    HeadPath,
    compact,
    composition_scores,
    head_weights,
    random_scores,
    strongest_paths,
)
from analyses.plots.graphs import graph
from analyses.result import Drawing, Result, check_needs
from hooks import Snapshot

DRAWN = 60  # more edges than that hide one another


@dataclass(frozen=True, eq=False)
class CompositionGraph(Result):
    """How much of what each head reads is what a head of an earlier layer writes.

    Attributes:
        heads: Heads as `layer.head`, in order.
        norms: Frobenius norms of W_QK and of W_OV by head.
        scores: By kind (Q, K, V), writing head and reading head, in [0, 1]; NaN where the second
            is in no later layer, or one of the two is zero.
        baseline: Mean score of random heads of these shapes; the same for all three kinds.
        spread: Standard deviation of the random heads' scores.
    """

    needs: ClassVar = ("attention", "layers.2")
    sliding: ClassVar = ("graph", "scores")

    heads: tuple[str, ...]
    norms: Float[np.ndarray, "circuit head"]
    scores: Float[np.ndarray, "kind writer reader"]
    baseline: float
    spread: float

    @classmethod
    def measure(
        cls, snapshot: Snapshot, *, reference: "CompositionGraph | None" = None, draws: int = 200,
        seed: int = 0,
    ) -> "CompositionGraph":  # fmt: skip
        """Measures one snapshot's weights.

        Args:
            snapshot: A transformer of at least two layers.
            reference: Not used.
            draws: Of how many random pairs of heads the baseline is the mean.
            seed: Of the random pairs.

        Raises:
            ValueError: There are fewer than two draws, which have no spread.
        """
        check_needs(cls, snapshot)
        if draws < 2:
            raise ValueError(f"draws = {draws}: a baseline with its spread takes two at least")
        W_Q, W_K, W_V, W_O = head_weights(snapshot)
        n_layers = snapshot.config.n_layers
        norms = [torch.linalg.matrix_norm(compact(*each)) for each in ((W_Q, W_K.mT), (W_V, W_O))]
        random = random_scores(W_V.shape[1], W_V.shape[2], draws, seed)
        return cls(
            heads=tuple(f"{i}.{h}" for i in range(n_layers) for h in range(len(W_O) // n_layers)),
            norms=torch.stack(norms).numpy(),
            scores=composition_scores(W_Q, W_K, W_V, W_O, n_layers=n_layers).numpy(),
            baseline=float(random.mean()),
            spread=float(random.std()),
        )

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Layer and number of each head."""
        numbers = (name.split(".") for name in self.heads)
        return {f"{layer}.{head}": (int(layer), int(head)) for layer, head in numbers}

    def strong(self, spreads: float = 2) -> pd.DataFrame:
        """Rows of the frame whose score is over the baseline by some spreads, strongest first."""
        ranked = self.to_frame().sort_values("score", ascending=False, kind="stable")
        return ranked.loc[ranked["excess"] > spreads * self.spread]

    def graph(self) -> nx.MultiDiGraph:
        """The heads, and every composition that is defined.

        Returns:
            A directed graph of heads (named `layer.head`, with `layer`, `head`, `norm_QK` and
            `norm_OV`) with an edge a kind from writer to reader (with `kind`, `score`, `baseline`
            and `excess`, the score over the baseline).
        """
        graph = nx.MultiDiGraph()
        norms = self.norms.T.tolist()
        for (name, (layer, head)), (QK, OV) in zip(self.places.items(), norms, strict=True):
            graph.add_node(name, layer=layer, head=head, norm_QK=QK, norm_OV=OV)
        for row in self.to_frame().dropna().to_dict("records"):
            graph.add_edge(row.pop("writer"), row.pop("reader"), key=row["kind"], **row)
        return graph

    def paths(self, count: int = 10, spreads: float = 2) -> list[HeadPath]:
        """The strongest chains of heads, of any length, strongest first.

        A path is as strong as the product over its links of score / baseline. Links must be over
        the baseline by some spreads, so that a path does not grow by links of chance.
        """
        strong = self.strong(spreads)
        times_chance = strong["score"] / self.baseline
        links = zip(strong["kind"], strong["writer"], strong["reader"], times_chance, strict=True)
        return strongest_paths(self.heads, links, count)

    def summary(self) -> dict[str, float | str]:
        """Largest and mean score of each kind, the baseline, and the strongest path.

        NaN where no score is defined, all heads of a layer being zero.
        """
        largest_and_mean: dict[str, float | str] = {}
        for kind, table in zip(KINDS, self.scores, strict=True):
            defined = table[~np.isnan(table)]
            some = len(defined) > 0
            largest_and_mean[f"largest_{kind}"] = float(defined.max()) if some else math.nan
            largest_and_mean[f"mean_{kind}"] = float(defined.mean()) if some else math.nan
        return largest_and_mean | {
            "baseline": self.baseline,
            "baseline_spread": self.spread,
            "strong_share": len(self.strong()) / len(self.to_frame()),
            "strongest_path": next(map(str, self.paths(1)), "none"),
        }

    def to_frame(self) -> pd.DataFrame:
        """One row a kind, writer and later reader: `score`, `baseline`, `excess`."""
        layers = np.array([layer for layer, _ in self.places.values()])
        is_later = np.broadcast_to(layers[:, None] < layers, self.scores.shape)
        kind, writer, reader = is_later.nonzero()
        names, scores = np.array(self.heads), self.scores[is_later]
        return pd.DataFrame(
            {
                "kind": np.array(KINDS)[kind],
                "writer": names[writer],
                "reader": names[reader],
                "score": scores,
                "baseline": self.baseline,
                "excess": scores - self.baseline,
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """The strongest compositions from layer to layer, and the scores of all."""
        strong, total = self.strong(), len(self.to_frame())
        drawn = strong.head(DRAWN)
        widths = drawn["excess"] / drawn["excess"].max()
        edges = list(zip(drawn["kind"], drawn["writer"], drawn["reader"], widths, strict=True))
        last = max(self.places.values())[0]
        writers = [name for name, (layer, _) in self.places.items() if layer < last]
        readers = [name for name, (layer, _) in self.places.items() if layer > 0]
        excess = self.scores[:, : len(writers), -len(readers) :] - self.baseline
        more = f" ({DRAWN} strongest drawn)" if len(strong) > DRAWN else ""
        return {
            "graph": graph(
                self.places, edges, kinds=KINDS, axes=("layer", "head"),
                title=f"{len(strong)} of {total} compositions stand out from random heads{more}",
            ),
            "scores": plots.heatmap(
                rearrange(excess, "kind writer reader -> (kind reader) writer"),
                title="What each head reads of what earlier heads write, less chance",
                axes=("writing head", "kind and reading head"), unit="score over random heads",
                ticks=(writers, [f"{kind} {name}" for kind in KINDS for name in readers]),
            ),
        }  # fmt: skip
