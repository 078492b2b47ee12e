"""Which edges between the parts of a transformer carry the answer, and how few of them suffice?

An edge u -> v is corrupted by adding to what v reads what u would write on the corrupted input,
less what it writes in the running pass. Its score is the metric with that edge corrupted alone
minus the metric of the clean run: negative where the edge helps. A circuit of k edges keeps these
as they are and corrupts all others; the share of the span that it recovers is

    f(k) = (m(circuit) - m(corrupted)) / (m(clean) - m(corrupted))

CPR is the integral of f over the share of edges that are kept, CMD that of |1 - f|.

Normalised figures look alike trained and untrained: they are NaN where the span is under three of
its standard errors, and the span stands beside them.

Source: Goldowsky-Dill et al. 2023 (arXiv:2304.05969), exact edges; Syed et al. 2023
(arXiv:2310.10348) and Hanna et al. 2024 (arXiv:2403.17806), EAP and EAP-IG, here at midpoints;
Mueller et al. 2025 (arXiv:2504.13151), CPR and CMD, there from a share of .001 on, here from 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses import plots
from analyses.circuits.words import ERRORS, edge_in_words, is_larger, with_error
from analyses.findings import Finding, percent
from analyses.plots.style import PALETTE
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, PairsResult
from analyses.statistics import spearman
from hooks import Pairs, Snapshot
from hooks.circuits.graph import EMBED, LOGITS, EdgeRuns, Graph
from hooks.circuits.pairs import MIN_SPAN, has_span, standard_error
from hooks.circuits.selection import acdc, greedy_order, top_order

MAX_EXACT = 200  # edges that are corrupted one by one; of more, scores are of gradients
STEPS, MANY_STEPS = 5, 30  # points of integrated gradients, and where those are too few
MAX_GAP = 0.05  # share of the span by which scores out of the embedding may miss it
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of edges kept, of many
RANDOM_SIZES = 6  # sizes of circuits of random edges, none and all among them
ENOUGH = 0.9  # share of the span that the drawn circuit recovers
MAX_BARS = 30

# What the reader of an edge makes of it, by the name of the edge's key.
KINDS = {"q": "queries", "k": "keys", "v": "values", "in": "MLP or logits"}
ORDERS = ("top", "greedy", "acdc")


@dataclass(frozen=True, eq=False)
class EdgeCircuit(PairsResult):
    """What each edge does to the answer, and what circuits of the best edges recover.

    Attributes:
        n_layers: Blocks.
        n_heads: Heads of each.
        has_mlp: Whether each has an MLP.
        metric: What is measured (`hooks.circuits.pairs`); logits or nats.
        change: What the two inputs of a pair differ in.
        order: By which edges are kept.
        exact: Whether each edge was corrupted by itself; otherwise scores are of gradients.
        steps: Points of integrated gradients.
        edges: Names of the edges, `writer->reader`.
        scores: Effect of corrupting each edge: metric minus that of the clean run.
        errors: Standard errors of the scores over pairs; NaN where scores are of gradients.
        gradient_scores: The same by integrated gradients.
        control_scores: Effect on control pairs, whose right answer stays; NaN without such pairs.
        clean: Metric of the clean runs.
        corrupted: Metric of the corrupted runs.
        span_error: Standard error of clean minus corrupted, paired over examples.
        accuracy: Share of clean inputs whose right class has the largest logit.
        ranking: Places of the edges, in the order in which they are kept.
        n_acdc: How many edges ACDC keeps, which come first; 0 in other orders.
        sizes: Numbers of edges kept.
        kept: Metric with as many edges kept, all others corrupted.
        kept_accuracy: Accuracy of the same runs.
        random_sizes: Numbers of random edges kept.
        random: Metric with as many random edges kept, by order drawn.
    """

    needs: ClassVar = Needs(pairs=True, edges=True, classes=True)
    by_default: ClassVar = Needs(most_layers=4)  # a run for each size and order of edges
    count: ClassVar = 1  # of examples, which do not matter
    sliding: ClassVar = ("circuit", "scores", "kept")
    rows: ClassVar = ("edge",)
    columns: ClassVar = {
        "score": "scores",
        "error": "errors",
        "gradient_score": "gradient_scores",
        "control_score": "control_scores",
        "rank": "ranks",
    }

    n_layers: int
    n_heads: int
    has_mlp: bool
    metric: str
    change: str
    order: str
    exact: bool
    steps: int
    edges: tuple[str, ...]
    scores: Float[np.ndarray, " edge"]
    errors: Float[np.ndarray, " edge"]
    gradient_scores: Float[np.ndarray, " edge"]
    control_scores: Float[np.ndarray, " edge"]
    clean: float
    corrupted: float
    span_error: float
    accuracy: float
    ranking: Int[np.ndarray, " edge"]
    n_acdc: int
    sizes: Int[np.ndarray, " size"]
    kept: Float[np.ndarray, " size"]
    kept_accuracy: Float[np.ndarray, " size"]
    random_sizes: Int[np.ndarray, " random_size"]
    random: Float[np.ndarray, "draw random_size"]

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        pairs: Pairs,
        control: Pairs | None = None,
        metric: str = "logit_difference",
        order: str = "top",
        threshold: float = 0.01,
        draws: int = 8,
        seed: int = 0,
    ) -> "EdgeCircuit":
        """Measures one snapshot.

        Args:
            snapshot: A transformer whose stream is the sum of what its parts write.
            pairs: Inputs, each beside a corrupted one.
            control: The same, where the right answer stays.
            metric: logit_difference, log_probability, probability or kl.
            order: How edges are chosen (`hooks.circuits.selection`).
            threshold: Of ACDC: the nats that an edge must be worth.
            draws: How many random orders of edges are run.
            seed: Of the random orders.

        Raises:
            ValueError: The model has no graph of edges, there are too few pairs for a standard
                error, a metric or an order is unknown, or draws is 0.
        """
        if len(pairs) < 2:
            raise ValueError("pairs: one pair has no standard error; give two at least")
        if order not in ORDERS:
            raise ValueError(f"order '{order}' is none of {', '.join(ORDERS)}")
        if draws < 1:
            raise ValueError(f"draws = {draws}: random edges are the control; draw one at least")
        runs = EdgeRuns(snapshot, pairs, metric)
        n_edges = len(runs.graph.edges)
        gradient_scores, steps = _attributed(runs)
        exact = n_edges <= MAX_EXACT
        scores, errors = gradient_scores, torch.full((n_edges,), math.nan)
        if exact:
            effects = runs.exact_scores()
            scores, errors = effects.mean(1), standard_error(effects)
        ranking, n_acdc = _ranked(runs, scores, order, threshold)
        sizes = _sizes(n_edges)
        kept, kept_accuracy = runs.with_corrupted(
            _all_but(ranking, sizes), metric, "accuracy"
        ).mean(2)
        random_sizes = torch.linspace(0, n_edges, RANDOM_SIZES).round().long().unique()
        generator = torch.Generator().manual_seed(seed)
        orders = [torch.randperm(n_edges, generator=generator) for _ in range(draws)]
        inner = torch.cat([_all_but(drawn, random_sizes[1:-1]) for drawn in orders])
        random = runs.with_corrupted(inner)[0].mean(1).unflatten(0, (draws, -1))
        ends = torch.stack([runs.corrupted.mean(), runs.clean.mean()]).expand(draws, 2)
        return cls(
            n_layers=runs.graph.n_layers,
            n_heads=runs.graph.n_heads,
            has_mlp=runs.graph.has_mlp,
            metric=metric,
            change=pairs.change,
            order=order,
            exact=exact,
            steps=steps,
            edges=runs.graph.edges,
            scores=scores.numpy(),
            errors=errors.numpy(),
            gradient_scores=gradient_scores.numpy(),
            control_scores=_control_scores(snapshot, control, metric, n_edges).numpy(),
            clean=float(runs.clean.mean()),
            corrupted=float(runs.corrupted.mean()),
            span_error=float(standard_error(runs.clean - runs.corrupted)),
            accuracy=float(kept_accuracy[-1]),
            ranking=ranking.numpy(),
            n_acdc=n_acdc,
            sizes=sizes.numpy(),
            kept=kept.numpy(),
            kept_accuracy=kept_accuracy.numpy(),
            random_sizes=random_sizes.numpy(),
            random=torch.cat([ends[:, :1], random, ends[:, 1:]], dim=1).numpy(),
        )

    @property
    def parts(self) -> Graph:
        """Writers, readers and edges of the model."""
        return Graph(self.n_layers, self.n_heads, self.has_mlp)

    @property
    def span(self) -> float:
        """Metric of the clean runs minus that of the corrupted ones."""
        return self.clean - self.corrupted

    @property
    def has_span(self) -> bool:
        """Whether the span is at least three of its standard errors."""
        return self.span != 0 and abs(self.span) >= MIN_SPAN * self.span_error

    @property
    def ranks(self) -> Int[np.ndarray, " edge"]:
        """Each edge's place in the order in which they are kept, from 0."""
        return self.ranking.argsort()

    @property
    def recovered(self) -> Float[np.ndarray, " size"]:
        """Share of the span that circuits recover; NaN where there is no span."""
        return self._share(self.kept)

    @property
    def random_recovered(self) -> Float[np.ndarray, "draw random_size"]:
        """The same of random circuits."""
        return self._share(self.random)

    def _share(self, values: np.ndarray) -> np.ndarray:
        return (values - self.corrupted) / (self.span if self.has_span else math.nan)

    @property
    def cpr(self) -> float:
        """Integral of what is recovered over the share of edges kept; above 1 where f is."""
        return float(np.trapezoid(self.recovered, self.sizes / len(self.edges)))

    @property
    def cmd(self) -> float:
        """Integral of |1 - f| over the share of edges kept; best 0."""
        return float(np.trapezoid(np.abs(1 - self.recovered), self.sizes / len(self.edges)))

    @property
    def random_cpr(self) -> Float[np.ndarray, " draw"]:
        """CPR of each random order."""
        shares = self.random_sizes / len(self.edges)
        return np.trapezoid(self.random_recovered, shares, axis=1)

    def enough(self, share: float = ENOUGH) -> int | None:
        """The fewest of the measured sizes from which on a share is recovered; None without one."""
        reached = self.recovered >= share
        if not reached.size or not reached[-1]:
            return None
        below = np.flatnonzero(~reached)
        return int(self.sizes[below[-1] + 1 if len(below) else 0])

    def circuit(self, size: int | None = None) -> tuple[str, ...]:
        """Names of the first edges in the order of the circuit.

        Args:
            size: How many; by default so many that .9 of the span is recovered, none without span.
        """
        size = (self.enough() or 0) if size is None else size
        return tuple(self.edges[place] for place in self.ranking[:size])

    @property
    def agreement(self) -> float:
        """Spearman's correlation of gradient scores and exact ones; NaN without span or exact."""
        known = self.exact and self.has_span
        return spearman(self.scores, self.gradient_scores) if known else math.nan

    @property
    def inner_agreement(self) -> float:
        """Pearson's correlation of the two without edges into the logits, which carry it."""
        inner = np.array([not edge.endswith(f"->{LOGITS}") for edge in self.edges])
        both = self.scores[inner], self.gradient_scores[inner]
        if not (self.exact and self.has_span) or min(map(np.ptp, both)) == 0:
            return math.nan
        return float(np.corrcoef(*both)[0, 1])

    def graph(self, size: int | None = None) -> Any:
        """The edges of a circuit.

        Args:
            size: As for `circuit`.

        Returns:
            A directed networkx graph from writers to readers (`0.h2`, with edges keyed `q`, `k`,
            `v` or `in`), each edge with its `score`, `error` and `rank`.
        """
        import networkx as nx  # a tenth of a second, and seldom wanted

        parts = nx.MultiDiGraph()
        parts.add_nodes_from((*self.parts.writers, LOGITS))
        for place in self.ranking[: len(self.circuit(size))]:
            writer, reader, kind = _ends(self.edges[place])
            parts.add_edge(
                writer,
                reader,
                key=kind,
                score=float(self.scores[place]),
                error=float(self.errors[place]),
                rank=int(self.ranks[place]),
            )
        return parts

    def summary(self) -> dict[str, float | str]:
        """The span and its error, the strongest edge, and how much few edges recover.

        CPR, CMD, the numbers of edges and the agreement are NaN where there is no span.
        """
        strongest = int(np.abs(self.scores).argmax())
        enough = self.enough()
        return {
            "clean": self.clean,
            "corrupted": self.corrupted,
            "span": self.span,
            "span_error": self.span_error,
            "accuracy": self.accuracy,
            "strongest": self.edges[strongest],
            "strongest_score": float(self.scores[strongest]),
            "largest_control": float(np.abs(self.control_scores).max()),
            "cpr": self.cpr,
            "cpr_random": float(self.random_cpr.mean()),
            "cmd": self.cmd,
            "edges_for_90_percent": math.nan if enough is None else enough,
            "gradient_spearman": self.agreement,
            "gradient_pearson_inner": self.inner_agreement,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How few edges suffice, beside as many at random, and the strongest edge by itself.

        A circuit is found where it recovers more than every random order of edges, and the span
        exceeds that of step 0 by three standard errors; an edge where its effect exceeds that on
        control pairs so, or nothing where there are none. There is nothing to find where the span
        is under three of its errors, or has the sign of wrong answers.
        """
        span, metric = with_error(self.span, self.span_error), plots.words(self.metric)
        if not self.has_span or (self.span < 0 and self.metric != "kl"):
            why = "the wrong way round" if self.has_span else f"under {ERRORS} standard errors"
            text = f"A change of {self.change} moves the {metric} by {span}: {why}"
            return (Finding(f"{text}, so no edge tells anything", "not found", "circuit"),)
        n_edges = len(self.circuit())
        recovered, at_random = self._beside_random(n_edges)
        text = f"{n_edges} of {len(self.edges)} edges recover {percent(recovered)} of the {metric} "
        text += f"lost by a change of {self.change} ({span}"
        is_found = n_edges > 0 and recovered > at_random.max()
        if isinstance(untrained, EdgeCircuit):
            text += f", at step 0 {untrained.span:.2g}"
            errors = (self.span_error, untrained.span_error)
            is_found &= is_larger(abs(self.span), abs(untrained.span), *errors)
        text += f"), {n_edges} random edges {percent(at_random.mean())}"
        circuit = Finding(text, "found" if is_found else "null", "circuit")
        return (circuit, *self._strongest_edge())

    def _beside_random(self, n_edges: int) -> tuple[float, Float[np.ndarray, " draw"]]:
        """What as many best edges recover, and as many random ones by order drawn."""
        best = float(self.recovered[list(self.sizes).index(n_edges)])
        drawn = [
            np.interp(n_edges, self.random_sizes, of_draw) for of_draw in self.random_recovered
        ]
        return best, np.array(drawn)

    def _strongest_edge(self) -> tuple[Finding, ...]:
        """The strongest edge by itself; nothing where its error is not known, nor a control."""
        place = int(np.abs(self.scores).argmax())
        score, error, control = (
            float(values[place]) for values in (self.scores, self.errors, self.control_scores)
        )
        if math.isnan(error) and math.isnan(control):
            return ()
        text = f"Corrupting {edge_in_words(self.edges[place])} alone moves the "
        text += f"{plots.words(self.metric)} by {with_error(score, error, '+')}"
        text += f" (span {with_error(self.span, self.span_error)}"
        text += ")" if math.isnan(control) else f", on control pairs {control:+.2g})"
        level = abs(np.nan_to_num(control))
        is_found = is_larger(abs(score), level, error)
        return (Finding(text, "found" if is_found else "null", "scores"),)

    def figures(self) -> Mapping[str, Drawing]:
        """The circuit, the score of each edge beside its control, and what circuits recover."""
        return {"circuit": self._drawn(), "scores": self._bars(), "kept": self._curve()}

    def _drawn(self) -> Drawing:
        title = f"Circuit for a change of {self.change}"
        if not self.has_span:
            return plots.empty(
                f"{title}: none yet",
                f"clean and corrupted inputs differ by {self.span:.3g} ± {self.span_error:.2g}: "
                "under three standard errors, there is nothing to explain",
            )
        circuit = self.graph()
        n_edges = circuit.number_of_edges()
        if not n_edges:
            return plots.empty(f"{title}: none", f"no circuit recovers {ENOUGH:.0%} of the span")
        f, at_random = self._beside_random(n_edges)
        largest = np.abs(self.scores).max()
        edges = [
            (KINDS[kind], writer, reader, abs(facts["score"]) / largest)
            for writer, reader, kind, facts in sorted(
                circuit.edges(keys=True, data=True), key=lambda edge: edge[3]["rank"]
            )
        ]
        return plots.graph(
            _places(self.parts),
            edges,
            kinds=list(KINDS.values()),
            title=f"{n_edges} of {len(self.edges)} edges recover {f:.0%} of the span, as many at "
            f"random {at_random.mean():.0%}",
            axes=("place in a pass, from the embedding on", "head"),
        )

    def _bars(self) -> Drawing:
        places = np.abs(self.scores).argsort()[::-1][:MAX_BARS]
        sets = {f"change: {self.change}": self.scores[places]}
        beside = ""
        if not np.isnan(self.control_scores).all():
            sets["control pairs"] = self.control_scores[places]
            beside = f" (control pairs: {self.control_scores[places[0]]:.2g})"
        strongest = int(places[0])
        return plots.bars(
            [self.edges[place] for place in places],
            sets,
            title=f"{self.edges[strongest]} alone: {self.scores[strongest]:.3g} of a span of "
            f"{self.span:.3g} ± {self.span_error:.2g}{beside}",
            axes=(
                "edge, clean input corrupted",
                f"effect on {plots.words(self.metric)} (patched - clean)",
            ),
        )

    def _curve(self) -> Drawing:
        share, shares = self.sizes / len(self.edges), self.random_sizes / len(self.edges)
        ends = (self.random.min(0), self.random.max(0))
        flat = np.array([0.0, 1.0])
        best, random = self.cpr, self.random_cpr.mean()
        found = "no span to recover" if math.isnan(best) else f"CPR {best:.2f}, random {random:.2f}"
        return plots.multiples(
            {
                "": [
                    plots.band(shares, ends, f"random edges, {len(self.random)} orders"),
                    plots.line(share, self.kept, "best edges", {"color": PALETTE[0], "width": 3}),
                    *(
                        plots.line(
                            flat,
                            np.full(2, level),
                            name,
                            {"color": PALETTE[1], "dash": dash, "width": 1.5},
                        )
                        for name, level, dash in (
                            ("clean run", self.clean, "dash"),
                            ("corrupted run", self.corrupted, "dot"),
                        )
                    ),
                ]
            },
            title=f"What the best edges recover: {found}",
            axes=("share of edges kept, others corrupted", f"{plots.words(self.metric)}"),
        )


def mean_scores(runs: EdgeRuns) -> Float[Tensor, " edge"]:
    """Mean effect of each edge: corrupted by itself where there are few, else by gradients."""
    if len(runs.graph.edges) <= MAX_EXACT:
        return runs.exact_scores().mean(1)
    return runs.attribution(STEPS)


def _attributed(runs: EdgeRuns) -> tuple[Float[Tensor, " edge"], int]:
    """Scores by integrated gradients, and their points.

    Those out of the embedding sum to minus the span; where five points miss it, thirty are taken.
    """
    out = torch.tensor([edge.startswith(f"{EMBED}->") for edge in runs.graph.edges])
    scores, span = runs.attribution(STEPS), float((runs.clean - runs.corrupted).mean())
    known = has_span(runs.clean, runs.corrupted)  # a span within its error is missed by chance
    if not known or abs(float(scores[out].sum()) + span) <= MAX_GAP * abs(span):
        return scores, STEPS
    return runs.attribution(MANY_STEPS), MANY_STEPS


def _ranked(
    runs: EdgeRuns, scores: Float[Tensor, " edge"], order: str, threshold: float
) -> tuple[Int[Tensor, " edge"], int]:
    """The order in which edges are kept, and how many ACDC keeps."""
    if order == "top":
        return top_order(scores), 0
    if order == "greedy":
        return greedy_order(runs.graph, scores), 0
    stays = acdc(runs, threshold)
    by_size = top_order(scores)
    return torch.cat([by_size[stays[by_size]], by_size[~stays[by_size]]]), int(stays.sum())


def _sizes(n_edges: int) -> Int[Tensor, " size"]:
    """Sizes of circuits that are run: all, or of a large graph some shares."""
    if n_edges <= MAX_EXACT:
        return torch.arange(n_edges + 1)
    return torch.tensor([0, *(int(share * n_edges) for share in SHARES)]).unique()


def _all_but(order: Int[Tensor, " edge"], sizes: Int[Tensor, " size"]) -> Tensor:
    """For each size a mask of the edges that are corrupted: all but the first ones."""
    return order.argsort() >= sizes[:, None]


def _control_scores(
    snapshot: Snapshot, control: Pairs | None, metric: str, n_edges: int
) -> Float[Tensor, " edge"]:
    """Scores on control pairs, in the way of the others; NaN without such pairs."""
    if control is None:
        return torch.full((n_edges,), math.nan)
    return mean_scores(EdgeRuns(snapshot, control, metric))


def _ends(edge: str) -> tuple[str, str, str]:
    """The part that writes, the part that reads, and how: q, k, v, or `in` of all other parts."""
    writer, reader = edge.split("->")
    part, _, kind = reader.rpartition(".")
    return (writer, part, kind) if kind in ("q", "k", "v") else (writer, reader, "in")


def _places(parts: Graph) -> dict[str, tuple[int, int]]:
    """Where each part is drawn: from left to right in the order of a pass, heads one by one."""
    middle = (parts.n_heads - 1) // 2
    of_layer = 2 if parts.has_mlp else 1
    places = {EMBED: (0, middle)}
    for writer in parts.writers[1:]:
        layer, part = writer.split(".")
        column = 1 + of_layer * int(layer)
        places[writer] = (column + 1, middle) if part == "mlp" else (column, int(part[1:]))
    return places | {LOGITS: (1 + of_layer * parts.n_layers, middle)}
