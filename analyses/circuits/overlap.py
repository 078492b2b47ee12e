"""Do runs that differ in their seed alone find the same circuit?

Heads of a layer are in no order, so that the heads of two runs are matched first: layer by layer,
by the assignment (Hungarian algorithm) that brings the sizes of their edges' scores closest. The
agreement of two circuits is the Jaccard index of their strongest edges, and Spearman's correlation
of the sizes of all scores. Edges of a kind are much alike whatever head they belong to: the control
is the mean over permutations of heads, not the index of random sets.

Source: ours.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float

from analyses import plots
from analyses.circuits.birth import pairs_by_part
from analyses.circuits.edges import mean_scores
from analyses.circuits.words import is_larger
from analyses.findings import Finding, Strength
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SweepResult
from analyses.statistics import spearman
from hooks import Checkpoints
from hooks.circuits.graph import EdgeRuns, Graph
from hooks.circuits.pairs import has_span

if TYPE_CHECKING:
    import pandas

MAX_PERMUTATIONS = 24  # of heads, of which the control is the mean
LEAST_GAIN = 0.2  # of the Jaccard index; matching alone gives unrelated circuits about a tenth
SEED = 0  # of the permutations, where there are more


@dataclass(frozen=True, eq=False)
class CircuitOverlap(SweepResult):
    """How alike the circuits of runs are at their last step, as they stand and with heads matched.

    Runs whose model has another graph of edges than the first run's, that failed, or whose span is
    under three of its standard errors are left out.

    Attributes:
        metric: What is measured (`hooks.circuits.pairs`).
        change: What the two inputs of a pair differ in.
        part: The split of the pairs.
        top: How many of the strongest edges are a circuit.
        n_edges: Edges of each model.
        runs: Names of the runs that are compared.
        left_out: Names of the others.
        scores: Effect of corrupting each edge, heads as they stand.
        jaccard: Of the two runs' strongest edges: those of both over those of either.
        matched: The same once the other run's heads are matched.
        permuted: Its mean over permutations of the other run's heads: the control.
        correlation: Spearman's correlation of the sizes of all scores.
        matched_correlation: The same once heads are matched.
    """

    needs: ClassVar = Needs(pairs=True, edges=True, classes=True)
    coordinates: ClassVar = {"run": "runs", "other": "runs"}
    rows: ClassVar = ("run", "other")

    metric: str
    change: str
    part: str
    top: int
    n_edges: int
    runs: tuple[str, ...]
    left_out: tuple[str, ...]
    scores: Float[np.ndarray, "run edge"]
    jaccard: Float[np.ndarray, "run other"]
    matched: Float[np.ndarray, "run other"]
    permuted: Float[np.ndarray, "run other"]
    correlation: Float[np.ndarray, "run other"]
    matched_correlation: Float[np.ndarray, "run other"]

    @classmethod
    def measure(
        cls,
        table: "pandas.DataFrame",
        series: Mapping[str, Checkpoints],
        *,
        axes: Sequence[str],
        change: str = "",
        metric: str = "logit_difference",
        top: int = 8,
        count: int = 200,
    ) -> "CircuitOverlap":
        """Measures the runs of a sweep on held-out pairs, or on those of the task's own split.

        Args:
            table: One row for each run.
            series: The runs, read one at a time.
            axes: Fields that vary.
            change: What the two inputs of a pair differ in; by default the task's first.
            metric: logit_difference, log_probability, probability or kl.
            top: How many of the strongest edges are a circuit.
            count: Pairs for each run.

        Raises:
            ValueError: The task gives no such pairs, the first model has no graph of edges, or
                `top` is not between 1 and the number of edges.
        """
        finished = table.loc[table["failure"] == "", "run"]
        names = [name for name in finished if series[name].steps]
        if not names:
            raise ValueError("no run has checkpoints: train the sweep first")
        found = {name: _last_scores(series[name], change, metric, count) for name in names}
        first = found[names[0]]
        graph = first.graph
        if not 1 <= top <= len(graph.edges):
            raise ValueError(f"top = {top}: give a number from 1 to {len(graph.edges)}, all edges")
        compared = {
            name: of_run.scores
            for name, of_run in found.items()
            if of_run.has_span and of_run.graph == graph
        }
        scores = np.array(list(compared.values())).reshape(-1, len(graph.edges))
        measures = np.array(
            [[_agreement(graph, one, other, top) for other in scores] for one in scores]
        ).reshape(len(scores), len(scores), 5)
        return cls(
            metric=metric,
            change=first.change,
            part=first.part,
            top=top,
            n_edges=len(graph.edges),
            runs=tuple(compared),
            left_out=tuple(name for name in table["run"] if name not in compared),
            scores=scores,
            jaccard=measures[..., 0],
            matched=measures[..., 1],
            permuted=measures[..., 2],
            correlation=measures[..., 3],
            matched_correlation=measures[..., 4],
        )

    @property
    def chance(self) -> float:
        """About the Jaccard index of two random sets of as many edges: k / (2 N - k)."""
        return self.top / (2 * self.n_edges - self.top)

    def summary(self) -> dict[str, float | str]:
        """Means over pairs of different runs, NaN of fewer than two; and chance."""
        different = ~np.eye(len(self.runs), dtype=bool)

        def mean(values: np.ndarray) -> float:
            return float(values[different].mean()) if different.any() else math.nan

        return {
            "runs": len(self.runs),
            "left_out": len(self.left_out),
            "jaccard": mean(self.jaccard),
            "jaccard_matched": mean(self.matched),
            "jaccard_permuted": mean(self.permuted),
            "jaccard_chance": self.chance,
            "spearman": mean(self.correlation),
            "spearman_matched": mean(self.matched_correlation),
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How alike circuits are with heads matched, beside the same with heads permuted.

        Found where matching exceeds permutations by a fifth and three standard errors over runs;
        nothing is said of fewer than two runs.
        """
        n_runs = len(self.runs)
        if n_runs < 2:
            return ()
        others = ~np.eye(n_runs, dtype=bool)
        gains = [(self.matched - self.permuted)[run, others[run]].mean() for run in range(n_runs)]
        error = float(np.std(gains, ddof=1) / math.sqrt(n_runs))
        found = self.summary()
        text = f"The {self.top} strongest edges of {n_runs} runs agree with a Jaccard index of "
        text += f"{found['jaccard_matched']:.2f} with heads matched, "
        text += f"{found['jaccard_permuted']:.2f} with heads permuted at random"
        is_found = is_larger(float(np.mean(gains)), LEAST_GAIN, error)
        strength: Strength = "found" if is_found else "null"
        return (Finding(text, strength, "overlap"),)

    def figures(self) -> Mapping[str, Drawing]:
        """Agreement of every two runs, heads matched, beside the control."""
        found = self.summary()
        if len(self.runs) < 2:
            why = f"{len(self.runs)} of {len(self.runs) + len(self.left_out)} runs have a span"
            return {"overlap": plots.empty("No two circuits to compare", why)}
        both = np.hstack([self.matched, self.permuted])
        return {
            "overlap": plots.heatmap(
                both,
                title=f"The {self.top} best edges: Jaccard {found['jaccard_matched']:.2f} with "
                f"heads matched, {found['jaccard_permuted']:.2f} permuted",
                axes=("other run, heads matched | permuted at random", "run"),
                unit="Jaccard index",
                limits=(0, 1),
                ticks=(
                    [f"{how} {run}" for how in ("matched", "permuted") for run in self.runs],
                    list(self.runs),
                ),
            )
        }


@dataclass(frozen=True, eq=False)
class _Found:
    """What a run's last step gives: its graph, the scores of its edges, and on which pairs."""

    graph: Graph
    scores: Float[np.ndarray, " edge"]
    has_span: bool
    part: str
    change: str


def _last_scores(series: Checkpoints, change: str, metric: str, count: int) -> _Found:
    """Scores of the edges of a run's last step, on held-out pairs where there are any."""
    parts = pairs_by_part(series, count, change)
    part = next((name for name in parts if name != "train"), next(iter(parts)))
    runs = EdgeRuns(series.snapshot(count=1), parts[part], metric)
    return _Found(
        graph=runs.graph,
        scores=mean_scores(runs).numpy(),
        has_span=has_span(runs.clean, runs.corrupted),
        part=part,
        change=parts[part].change,
    )


def _agreement(
    graph: Graph, one: Float[np.ndarray, " edge"], other: Float[np.ndarray, " edge"], top: int
) -> tuple[float, float, float, float, float]:
    """Jaccard as it stands, matched, over permutations; correlation as it stands and matched."""
    sizes, others = np.abs(one), np.abs(other)
    matched = permuted(graph, others, matching(graph, sizes, others))
    control = [
        _jaccard(sizes, permuted(graph, others, heads), top) for heads in _permutations(graph)
    ]
    return (
        _jaccard(sizes, others, top),
        _jaccard(sizes, matched, top),
        float(np.mean(control)),
        spearman(sizes, others),
        spearman(sizes, matched),
    )


def _jaccard(one: np.ndarray, other: np.ndarray, top: int) -> float:
    best, of_other = ({*(-sizes).argsort(kind="stable")[:top].tolist()} for sizes in (one, other))
    return len(best & of_other) / len(best | of_other)


def permuted(
    graph: Graph, sizes: Float[np.ndarray, " edge"], heads: Sequence[Sequence[int]]
) -> Float[np.ndarray, " edge"]:
    """Scores of the same model with its heads in another order.

    Args:
        graph: The model's edges.
        sizes: Scores of the edges.
        heads: For each layer, which head stands at each place.
    """
    table = np.zeros(graph.exists.shape)
    table[graph.exists.numpy()] = sizes
    readers, writers = (
        [_renamed(name, heads) for name in names] for names in (graph.readers, graph.writers)
    )
    rows = [graph.readers.index(name) for name in readers]
    columns = [graph.writers.index(name) for name in writers]
    return table[rows][:, columns][graph.exists.numpy()]


def _renamed(name: str, heads: Sequence[Sequence[int]]) -> str:
    """The part that stands at the place of another."""
    layer, _, rest = name.partition(".")
    if not rest.startswith("h"):
        return name
    head, _, kind = rest.partition(".")
    return f"{layer}.h{heads[int(layer)][int(head[1:])]}{'.' * bool(kind)}{kind}"


def matching(
    graph: Graph, one: Float[np.ndarray, " edge"], other: Float[np.ndarray, " edge"]
) -> list[list[int]]:
    """For each layer, the other run's heads in the order in which they are closest to the one's.

    A head's profile is the sizes of the edges that it reads and writes; those that it writes to
    heads of a later layer, not matched yet, in the order of their sizes.
    """
    from scipy.optimize import linear_sum_assignment  # heavy, and only needed to measure

    heads = [list(range(graph.n_heads)) for _ in range(graph.n_layers)]
    for layer in range(graph.n_layers):
        profiles, others = (
            np.array([_profile(graph, sizes, layer, head) for head in range(graph.n_heads)])
            for sizes in (one, permuted(graph, other, heads))
        )
        distances = np.abs(profiles[:, None] - others).sum(-1)
        heads[layer] = linear_sum_assignment(distances)[1].tolist()
    return heads


def _profile(graph: Graph, sizes: np.ndarray, layer: int, head: int) -> np.ndarray:
    """Sizes of the edges that a head reads and writes."""
    name = f"{layer}.h{head}"
    read: list[float] = []
    written: dict[str, list[float]] = {}
    for edge, size in zip(graph.edges, sizes.tolist(), strict=True):
        writer, reader = edge.split("->")
        if reader.startswith(f"{name}."):
            read.append(size)
        if writer == name:
            later, _, part = reader.partition(".")
            written.setdefault(f"{later}.{part.rpartition('.')[2]}", []).append(size)
    return np.array([*read, *(size for group in written.values() for size in sorted(group))])


def _permutations(graph: Graph) -> Iterator[Sequence[Sequence[int]]]:
    """All orders of the heads of all layers, or some drawn at random."""
    n_orders = math.factorial(graph.n_heads) ** graph.n_layers
    if n_orders <= MAX_PERMUTATIONS:
        orders = itertools.permutations(range(graph.n_heads))
        yield from itertools.product(orders, repeat=graph.n_layers)
        return
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(MAX_PERMUTATIONS):
        yield [
            torch.randperm(graph.n_heads, generator=generator).tolist()
            for _ in range(graph.n_layers)
        ]
