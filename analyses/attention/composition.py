"""How much one head reads of what another writes, and the strongest chains of such links.

A head writes x W_V W_O; another's queries, keys or values read that through W_Q W_K^T, W_K W_Q^T or
W_V W_O. All are products of thin matrices, and only norms are asked for: the factor that is not
multiplied on is replaced by the triangle of its QR decomposition, d_head x d_head, so that no
d_model x d_model matrix is ever formed.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analyses.rounding import is_rounding
from hooks import Snapshot

KINDS = ("Q", "K", "V")
Thin = Float[Tensor, "head d_model d_head"]
Wide = Float[Tensor, "head d_head d_model"]


def head_weights(snapshot: Snapshot) -> tuple[Thin, Thin, Thin, Wide]:
    """W_Q, W_K, W_V and W_O of all heads, in order of layers, in float64.

    Where layer norm comes before, what reads is what layer norm lets through: its gain multiplied
    in and the mean over the residual stream taken out; of a head of which that leaves rounding
    alone, 0. What layer norm divides by depends on the input and is left out.
    """
    parameters, config = snapshot.parameters(), snapshot.config

    def read(name: str, layer: int) -> Tensor:
        W = parameters[f"blocks.{layer}.attn.{name}"].double().cpu()
        if config.normalization_type is None or name == "W_O":
            return W
        gain = parameters.get(f"blocks.{layer}.ln1.w", torch.ones(W.shape[1])).double().cpu()
        scaled = gain[:, None] * W
        centred = scaled - scaled.mean(1, keepdim=True)
        powers = [each.square().sum((1, 2)) for each in (centred, scaled)]
        return centred.masked_fill(is_rounding(*powers)[:, None, None], 0)

    layers = range(config.n_layers)
    W_Q, W_K, W_V, W_O = (
        torch.cat([read(name, layer) for layer in layers]) for name in ("W_Q", "W_K", "W_V", "W_O")
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
    writes, reads = compact(W_V, W_O), torch.stack(_reads(W_Q, W_K, W_V, W_O))
    count, n_heads = len(W_O), len(W_O) // n_layers
    scores = W_O.new_full((3, count, count), torch.nan)
    for writer in range(count):
        later = slice((writer // n_heads + 1) * n_heads, None)
        scores[:, writer, later] = composition(writes[writer], reads[:, later])
    return scores


def _reads(W_Q: Thin, W_K: Thin, W_V: Thin, W_O: Wide) -> tuple[Tensor, Tensor, Tensor]:
    """What stands for W_Q W_K^T, W_K W_Q^T and W_V W_O where they read: [head, d_model, r] each."""
    return compact(W_K, W_Q.mT).mT, compact(W_Q, W_K.mT).mT, compact(W_O.mT, W_V.mT).mT


def random_scores(d_model: int, d_head: int, draws: int, seed: int) -> Float[Tensor, " draw"]:
    """Composition of pairs of random heads, whose entries are independent and normal.

    The mean of their squares is 1 / d_model, whatever d_head is.
    """
    generator = torch.Generator().manual_seed(seed)

    def score() -> Tensor:
        A, B, C, D = torch.randn(4, d_model, d_head, generator=generator, dtype=torch.float64)
        return composition(compact(A, B.mT), compact(D, C.mT).mT)

    return torch.stack([score() for _ in range(draws)])


@dataclass(frozen=True)
class HeadPath:
    """A chain of heads, each of which reads what the one before writes.

    Attributes:
        heads: Heads as `layer.head`, the earliest first.
        kinds: How each but the first reads the one before: Q, K or V.
        strength: Product over its links of how many times chance their scores are.
    """

    heads: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    strength: float = 1.0

    def then(self, kind: str, head: str, times_chance: float) -> "HeadPath":
        """The path with one link more."""
        strength = self.strength * times_chance
        return HeadPath((*self.heads, head), (*self.kinds, kind), strength)

    def __str__(self) -> str:
        links = zip(self.kinds, self.heads[1:], strict=True)
        return self.heads[0] + "".join(f" -{kind}> {head}" for kind, head in links)


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
        found = [
            path.then(kind, head, times_chance)
            for kind, writer, times_chance in into[head]
            for path in (HeadPath((writer,)), *ending[writer])
        ]
        ending[head] = _strongest(found, count)
    return _strongest([path for paths in ending.values() for path in paths], count)


def _strongest(paths: list[HeadPath], count: int) -> list[HeadPath]:
    return heapq.nsmallest(count, paths, key=lambda path: (-path.strength, path.heads, path.kinds))
