"""Which heads read what heads of earlier layers write, and which chains of heads are strongest?

A head writes W_OV = W_V W_O into the residual stream; queries, keys and values of later heads read
it through W_QK = W_Q W_K^T, W_QK^T and W_OV. How well the two fit is the norm of their product over
the product of their norms, beside what random matrices of the same shapes give. Rows are vectors,
as in TransformerLens. All are products of thin matrices, and only norms are asked for: the factor
that is not multiplied on is replaced by the triangle of its QR decomposition, d_head x d_head, so
that no d_model x d_model matrix is ever formed.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits": Q-, K- and
V-composition in two-layer models, drawn there with the value of random matrices subtracted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from analyses.findings import Finding
from analyses.plots import graph, heatmap
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import defined_mean, is_rounding
from hooks import Snapshot

if TYPE_CHECKING:
    import pandas

KINDS = ("Q", "K", "V")
MAX_EDGES_DRAWN = 16  # more hide one another
READS = dict(zip(KINDS, ("queries", "keys", "values"), strict=True))
Thin = Float[Tensor, "head d_model d_head"]
Wide = Float[Tensor, "head d_head d_model"]


@dataclass(frozen=True)
class HeadPath:
    """A chain of heads, each of which reads what the one before writes.

    Attributes:
        heads: Heads as `layer.head`, the earliest first.
        kinds: How each but the first reads the one before: Q, K or V.
        strength: Product over its links of the ratio of their scores to chance.
    """

    heads: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    strength: float = 1.0

    def __str__(self) -> str:
        return self.heads[0] + "".join(
            f" -{kind}> {head}" for kind, head in zip(self.kinds, self.heads[1:], strict=True)
        )


@dataclass(frozen=True, eq=False)
class CompositionGraph(Result):
    """How much of what each head reads is what a head of an earlier layer writes.

    A row of the table is a kind, a writer and a reader of a later layer.

    Attributes:
        heads: Heads as `layer.head`, in order.
        norms: Frobenius norms of W_QK and of W_OV by head.
        scores: By kind (Q, K, V), writing head and reading head, in [0, 1]; NaN where the second
            is in no later layer, or one of the two is zero.
        baseline: Mean score of random heads of these shapes; the same for all three kinds.
        spread: Standard deviation of the random heads' scores.
    """

    coordinates: ClassVar = {
        "circuit": ("QK", "OV"),
        "kind": KINDS,
        "writer": "heads",
        "reader": "heads",
    }
    rows: ClassVar = ("kind", "writer", "reader")
    columns: ClassVar = {"score": "scores", "baseline": "baseline", "excess": "excess"}
    needs: ClassVar = Needs(attention=True, layers=2)
    sliding: ClassVar = ("graph", "scores")

    heads: tuple[str, ...]
    norms: Float[np.ndarray, "circuit head"]
    scores: Float[np.ndarray, "kind writer reader"]
    baseline: float
    spread: float

    @classmethod
    def measure(cls, snapshot: Snapshot, *, draws: int = 200, seed: int = 0) -> "CompositionGraph":
        """Measures one snapshot's weights.

        Args:
            snapshot: A transformer of at least two layers.
            draws: Of how many random pairs of heads the baseline is the mean.
            seed: Of the random pairs.

        Raises:
            ValueError: There are fewer than two draws, which have no spread.
        """
        if draws < 2:
            raise ValueError(f"draws = {draws}: a baseline with its spread takes two at least")
        W_Q, W_K, W_V, W_O = head_weights(snapshot)
        n_layers = snapshot.config.n_layers
        random = random_scores(W_V.shape[1], W_V.shape[2], draws, seed)
        return cls(
            heads=tuple(f"{i}.{h}" for i in range(n_layers) for h in range(len(W_O) // n_layers)),
            norms=torch.linalg.matrix_norm(
                torch.stack([compact(W_Q, W_K.mT), compact(W_V, W_O)])
            ).numpy(),
            scores=composition_scores(W_Q, W_K, W_V, W_O, n_layers=n_layers).numpy(),
            baseline=float(random.mean()),
            spread=float(random.std()),
        )

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Layer and number of each head."""
        return {
            f"{layer}.{head}": (int(layer), int(head))
            for layer, head in (name.split(".") for name in self.heads)
        }

    @property
    def excess(self) -> Float[np.ndarray, "kind writer reader"]:
        """Scores over the baseline."""
        return self.scores - self.baseline

    @property
    def chance_spreads(self) -> float:
        """By how many spreads the largest of as many random scores exceeds their mean, about.

        The largest of n independent normal numbers lies about sqrt(2 log n) deviations above.
        """
        return float(np.sqrt(2 * np.log(len(self.to_frame()))))

    def strong(self, spreads: float = 2) -> "pandas.DataFrame":
        """Rows of the frame whose score is over the baseline by some spreads, strongest first."""
        ranked = self.to_frame().sort_values("score", ascending=False, kind="stable")
        return ranked.loc[ranked["excess"] > spreads * self.spread]

    def graph(self) -> Any:
        """The heads, and every composition that is defined.

        Returns:
            A directed networkx graph of heads (named `layer.head`, with `layer`, `head`, `norm_QK`
            and `norm_OV`) with an edge a kind from writer to reader (with `kind`, `score`,
            `baseline` and `excess`, the score over the baseline).
        """
        import networkx as nx  # a tenth of a second, and seldom wanted

        heads = nx.MultiDiGraph()
        for (name, (layer, head)), (QK, OV) in zip(
            self.places.items(), self.norms.T.tolist(), strict=True
        ):
            heads.add_node(name, layer=layer, head=head, norm_QK=QK, norm_OV=OV)
        for row in self.to_frame().dropna().to_dict("records"):
            heads.add_edge(row.pop("writer"), row.pop("reader"), key=row["kind"], **row)
        return heads

    def paths(self, count: int = 10, spreads: float = 2) -> list[HeadPath]:
        """The strongest chains of heads, of any length, strongest first.

        A path is as strong as the product over its links of score / baseline. Links must be over
        the baseline by some spreads, so that a path does not grow by links of chance.
        """
        strong = self.strong(spreads)
        links = zip(
            strong["kind"],
            strong["writer"],
            strong["reader"],
            strong["score"] / self.baseline,
            strict=True,
        )
        return strongest_paths(self.heads, links, count)

    def summary(self) -> dict[str, float | str]:
        """Largest and mean score of each kind, the baseline, and the strongest path.

        NaN where no score is defined, all heads of a layer being zero.
        """
        statistics = {
            "largest": lambda scores: float(np.fmax.reduce(scores, None)),
            "mean": defined_mean,
        }
        return {
            **{
                f"{name}_{kind}": statistic(scores)
                for kind, scores in zip(KINDS, self.scores, strict=True)
                for name, statistic in statistics.items()
            },
            "baseline": self.baseline,
            "baseline_spread": self.spread,
            "strong_share": len(self.strong()) / len(self.to_frame()),
            "strongest_path": next(map(str, self.paths(1)), "none"),
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The strongest composition, and how many exceed the largest of as many random ones.

        The strongest is found where it exceeds that, and the untrained model's strongest by two
        spreads of random heads; null where the untrained model's is as high.
        """
        ranked = self.strong(-np.inf)
        if not len(ranked):
            return ()
        first, random = ranked.iloc[0], f"random heads {self.baseline:.3f} ± {self.spread:.1g}"
        beside, level, of_first = f"{random} each", -np.inf, ""
        if isinstance(untrained, CompositionGraph) and untrained.heads == self.heads:
            level = float(np.fmax.reduce(untrained.scores, None))
            n_first = len(untrained.strong(untrained.chance_spreads))
            beside, of_first = f"{random}, untrained at most {level:.3f}", f"; untrained {n_first}"
        strong = len(self.strong(self.chance_spreads))
        if not strong:
            text = (
                f"No head reads an earlier one more than chance: largest score {first['score']:.3f}"
            )
            return (Finding(f"{text} ({beside})", "not found", "scores"),)
        is_new = not first["score"] - level <= 2 * self.spread
        text = f"The {READS[first['kind']]} of head {first['reader']} read head {first['writer']} "
        text += f"most: composition score {first['score']:.3f} ({beside})"
        count = f"{strong} of {len(self.to_frame())} compositions exceed the largest of as many "
        count += f"random ones (by chance about 1 would{of_first})"
        strength = "found" if is_new else "null"
        return (Finding(text, strength, "graph"), Finding(count, strength, "graph"))

    def to_frame(self) -> "pandas.DataFrame":
        """One row a kind, writer and later reader: `score`, `baseline`, `excess`."""
        layers = np.array([layer for layer, _ in self.places.values()])
        is_later = np.broadcast_to(layers[:, None] < layers, self.scores.shape)
        return super().to_frame().loc[is_later.ravel()].reset_index(drop=True)

    def figures(self) -> Mapping[str, Drawing]:
        """The strongest compositions from layer to layer, and the scores of all."""
        strong = self.strong(self.chance_spreads)
        shown = strong.head(MAX_EDGES_DRAWN)
        more = f" ({MAX_EDGES_DRAWN} strongest drawn)" if len(shown) < len(strong) else ""
        last = max(self.places.values())[0]
        writers = [name for name, (layer, _) in self.places.items() if layer < last]
        readers = [name for name, (layer, _) in self.places.items() if layer > 0]
        return {
            "graph": graph(
                self.places,
                list(
                    zip(
                        shown["kind"],
                        shown["writer"],
                        shown["reader"],
                        shown["excess"] / shown["excess"].max(),
                        strict=True,
                    )
                ),
                kinds=KINDS,
                axes=("layer", "head"),
                title=f"{len(strong)} of {len(self.to_frame())} compositions exceed the largest of "
                f"as many random ones{more}",
            ),
            "scores": heatmap(
                rearrange(
                    self.excess[:, : len(writers), -len(readers) :],
                    "kind writer reader -> (kind reader) writer",
                ),
                title="What each head reads of what earlier heads write, less chance",
                axes=("writing head", "kind and reading head"),
                unit="score over random heads",
                ticks=(writers, [f"{kind} {name}" for kind in KINDS for name in readers]),
            ),
        }


def head_weights(snapshot: Snapshot) -> tuple[Thin, Thin, Thin, Wide]:
    """W_Q, W_K, W_V and W_O of all heads, in order of layers, in float64.

    Where layer norm comes before a head, W_Q, W_K and W_V are what reads through it: its gain is
    multiplied in and, but for RMS norm, the mean over the residual stream taken out; heads of which
    that leaves rounding alone are 0. What is divided by depends on the input and is left out.
    """
    parameters, config = snapshot.parameters(), snapshot.config

    def read(name: str, layer: int) -> Tensor:
        W = snapshot.weights(f"blocks.{layer}.attn.{name}").double()
        if config.normalization_type is None or name == "W_O":
            return W
        gain = parameters.get(f"blocks.{layer}.ln1.w", torch.ones(W.shape[1])).double().cpu()
        scaled = gain[:, None] * W
        if config.normalization_type in ("RMS", "RMSPre"):
            return scaled  # these leave the mean in
        centred = scaled - scaled.mean(1, keepdim=True)
        is_zero = is_rounding(centred.square().sum((1, 2)), scaled.square().sum((1, 2)))
        return centred.masked_fill(is_zero[:, None, None], 0)

    W_Q, W_K, W_V, W_O = (
        torch.cat([read(name, layer) for layer in range(config.n_layers)])
        for name in ("W_Q", "W_K", "W_V", "W_O")
    )
    return W_Q, W_K, W_V, W_O


def compact(
    A: Float[Tensor, "*batch d h"], B: Float[Tensor, "*batch h e"]
) -> Float[Tensor, "*batch r e"]:
    """At most h rows that have the norm of A B whatever both are multiplied by from the right."""
    # A = (orthonormal columns) R, and R^T R is the Gram matrix A^T A
    return torch.linalg.qr(A, mode="r").R @ B


def composition(
    writes: Float[Tensor, "*#batch r d"], reads: Float[Tensor, "*#batch d k"]
) -> Float[Tensor, "*batch"]:
    """Norm of a product over the product of norms, in [0, 1]; NaN where one of the two is zero."""
    norms = torch.linalg.matrix_norm(writes) * torch.linalg.matrix_norm(reads)
    return torch.linalg.matrix_norm(writes @ reads) / norms


def composition_scores(
    W_Q: Thin, W_K: Thin, W_V: Thin, W_O: Wide, *, n_layers: int
) -> Float[Tensor, "kind writer reader"]:
    """Q-, K- and V-composition of every head with every head of a later layer; NaN elsewhere.

    With W_OV of the writer, and W_QK, W_OV of the reader: |W_OV W_QK|, |W_OV W_QK^T| and
    |W_OV W_OV|, each over the two matrices' norms. Cost grows with the square of the heads.

    Source:
        Elhage et al. 2021, whose vectors are columns: |W_QK^T W_OV|, |W_QK W_OV|, |W_OV W_OV|.
    """
    writes = compact(W_V, W_O)
    # They have the norms of W_Q W_K^T, W_K W_Q^T and W_V W_O, whatever both are multiplied by.
    reads = torch.stack(
        [compact(W_K, W_Q.mT).mT, compact(W_Q, W_K.mT).mT, compact(W_O.mT, W_V.mT).mT]
    )
    count, n_heads = len(W_O), len(W_O) // n_layers
    scores = W_O.new_full((3, count, count), torch.nan)
    for writer in range(count):
        later = slice((writer // n_heads + 1) * n_heads, None)
        scores[:, writer, later] = composition(writes[writer], reads[:, later])
    return scores


def random_scores(d_model: int, d_head: int, draws: int, seed: int) -> Float[Tensor, " draw"]:
    """Composition of pairs of random heads, whose entries are independent and normal.

    The mean of their squares is 1 / d_model, whatever d_head is.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = (
        torch.randn(4, d_model, d_head, generator=generator, dtype=torch.float64)
        for _ in range(draws)
    )
    return torch.stack([composition(compact(A, B.mT), compact(D, C.mT).mT) for A, B, C, D in pairs])


def strongest_paths(
    heads: Sequence[str], links: Iterable[tuple[str, str, str, float]], count: int
) -> list[HeadPath]:
    """The strongest paths of one link or more, strongest first.

    Exact: the strongest paths that end in a head extend strongest paths that end in earlier ones.

    Args:
        heads: All heads, writers before their readers.
        links: Kind, writer, reader, and how many times chance, a positive number.
        count: How many.
    """
    into: dict[str, list[tuple[str, str, float]]] = {head: [] for head in heads}
    for kind, writer, reader, times_chance in links:
        into[reader].append((kind, writer, times_chance))
    ending: dict[str, list[HeadPath]] = {}
    for head in heads:
        ending[head] = _strongest(
            [
                HeadPath((*path.heads, head), (*path.kinds, kind), path.strength * times_chance)
                for kind, writer, times_chance in into[head]
                for path in (HeadPath((writer,)), *ending[writer])
            ],
            count,
        )
    return _strongest([path for paths in ending.values() for path in paths], count)


def _strongest(paths: list[HeadPath], count: int) -> list[HeadPath]:
    return sorted(paths, key=lambda path: (-path.strength, path.heads, path.kinds))[:count]
