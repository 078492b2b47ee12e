"""When in training does each edge get its effect, on training pairs and on held-out ones?

The raw score of an edge (`analyses.circuits.edges`) is followed through the run. An edge is born at
the first kept step from which on it has half its final score, with its sign, for good. Scores over
the span of their own step would be of no use: such shares look alike before and after training.

Training and held-out pairs are scored apart, and the two inputs of a pair are of one split: pairs
from anywhere date what a model knows by heart.

Source: ours; circuits through training: Tigges et al. 2024 (arXiv:2407.10827).
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float

from analyses import plots
from analyses.circuits.edges import MAX_EXACT, mean_scores
from analyses.circuits.words import ERRORS, with_error
from analyses.findings import Finding
from analyses.plots.style import MUTED, stroke
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, SeriesResult
from hooks import Checkpoints, Pairs
from hooks.circuits.graph import EdgeRuns, graph_of
from hooks.circuits.pairs import MIN_SPAN, standard_error

PARTS = ("train", "test", "generalization")  # splits that are scored, where the task has them
OWN = "all"  # what the task's own split is called where it has none of these
HALF = {"color": MUTED, "width": 1, "dash": "dash"}
OLD_SHARE = 0.5  # of the edges born; where so many have half at the first step, training made none
MIN_SHARE = 0.02  # of the final span, which an edge's final score must be to have a birth


@dataclass(frozen=True, eq=False)
class CircuitBirth(SeriesResult):
    """The effect of every edge at every step, and when each has half its final effect.

    Attributes:
        metric: What is measured (`hooks.circuits.pairs`).
        change: What the two inputs of a pair differ in.
        exact: Whether each edge was corrupted by itself; otherwise scores are of gradients.
        steps: The kept steps.
        parts: Splits that are scored apart.
        edges: Names of the edges.
        scores: Effect of corrupting each edge: metric minus that of the clean run.
        spans: Metric of clean runs minus that of corrupted ones.
        span_errors: Standard errors of the spans, paired over examples.
        accuracy: Share of the clean inputs that are answered right.
    """

    needs: ClassVar = Needs(pairs=True, edges=True, classes=True)
    by_default: ClassVar = Needs(most_layers=4)
    rows: ClassVar = ("part", "edge")
    columns: ClassVar = {"final_score": "final", "born": "born"}

    metric: str
    change: str
    exact: bool
    steps: tuple[int, ...]
    parts: tuple[str, ...]
    edges: tuple[str, ...]
    scores: Float[np.ndarray, "part step edge"]
    spans: Float[np.ndarray, "part step"]
    span_errors: Float[np.ndarray, "part step"]
    accuracy: Float[np.ndarray, "part step"]

    @classmethod
    def measure(
        cls,
        series: Checkpoints,
        *,
        change: str = "",
        metric: str = "logit_difference",
        count: int = 200,
    ) -> "CircuitBirth":
        """Measures a run.

        Args:
            series: A run of a transformer whose stream is the sum of what its parts write.
            change: What the two inputs of a pair differ in; by default the task's first.
            metric: logit_difference, log_probability, probability or kl.
            count: Pairs of each split.

        Raises:
            ValueError: The task gives no such pairs, the model has no graph of edges, or there are
                fewer than two pairs.
        """
        pairs = pairs_by_part(series, count, change)
        snapshots = (series.snapshot(step, count=1) for step in series.steps)
        by_step = [
            np.stack([_measured(EdgeRuns(snapshot, of_part, metric)) for of_part in pairs.values()])
            for snapshot in snapshots
        ]
        measured = np.stack(by_step, axis=1)
        graph = graph_of(series.snapshot(count=1))
        return cls(
            metric=metric,
            change=next(iter(pairs.values())).change,
            exact=len(graph.edges) <= MAX_EXACT,
            steps=series.steps,
            parts=tuple(pairs),
            edges=graph.edges,
            scores=measured[..., 3:],
            spans=measured[..., 0],
            span_errors=measured[..., 1],
            accuracy=measured[..., 2],
        )

    @property
    def final(self) -> Float[np.ndarray, "part edge"]:
        """Scores at the last step."""
        return self.scores[:, -1]

    @property
    def has_span(self) -> Bool[np.ndarray, "part step"]:
        """Whether a span is at least three of its standard errors."""
        return (self.spans != 0) & (np.abs(self.spans) >= MIN_SPAN * self.span_errors)

    @property
    def born(self) -> Float[np.ndarray, "part edge"]:
        """The step from which on an edge has half its final score, with its sign, for good.

        NaN where that score is under a fiftieth of the final span, or there is no final span.
        """
        spans = np.where(self.has_span[:, -1], np.abs(self.spans[:, -1]), np.inf)
        counts = np.abs(self.final) >= MIN_SHARE * spans[:, None]
        return np.where(counts, self._reached(self.scores), np.nan)

    @property
    def accurate(self) -> Float[np.ndarray, " part"]:
        """The step from which on half the clean inputs are answered right for good; or NaN."""
        late = np.minimum.accumulate(self.accuracy[:, ::-1], axis=1)[:, ::-1] >= 0.5
        first = np.array(self.steps, dtype=float)[late.argmax(1)]
        return np.where(late.any(1), first, np.nan)

    def _reached(self, scores: Float[np.ndarray, "part step edge"]) -> np.ndarray:
        """The first step from which on scores are at least half their last value."""
        holds = scores * np.sign(scores[:, -1:]) >= np.abs(scores[:, -1:]) / 2
        stays = np.logical_and.accumulate(holds[:, ::-1], axis=1)[:, ::-1]
        return np.array(self.steps, dtype=float)[stays.argmax(1)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """For each edge its kind: the same for all heads of a layer (`0.head->0.mlp`)."""
        return tuple(re.sub(r"\.h\d+", ".head", edge) for edge in self.edges)

    def summary(self) -> dict[str, float | str]:
        """For each part the span, when accuracy passes half, and when edges are born.

        NaN where nothing is born.
        """
        summary: dict[str, float | str] = {}
        for part, born, span, error, accurate in zip(
            self.parts,
            self.born,
            self.spans[:, -1],
            self.span_errors[:, -1],
            self.accurate,
            strict=True,
        ):
            known = born[np.isfinite(born)]
            first, middle, last = (
                np.quantile(known, (0, 0.5, 1)).tolist() if known.size else [math.nan] * 3
            )
            summary |= {
                f"span_{part}": float(span),
                f"span_error_{part}": float(error),
                f"accurate_{part}": float(accurate),
                f"first_born_{part}": first,
                f"median_born_{part}": middle,
                f"last_born_{part}": last,
                f"n_born_{part}": len(known),
            }
        return summary

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """For each part when edges are born, beside those there from the start, and accuracy.

        Null where half of the edges or more have half their final effect at the first step.
        """
        held_out_first = sorted(
            range(len(self.parts)), key=lambda part: self.parts[part] == "train"
        )
        return tuple(self._finding(part) for part in held_out_first)

    def _finding(self, part: int) -> Finding:
        born = self.born[part][np.isfinite(self.born[part])]
        of = f"{self.parts[part]} pairs" if self.parts != (OWN,) else "the task's pairs"
        if not len(born):
            span = with_error(float(self.spans[part, -1]), float(self.span_errors[part, -1]))
            why = f"at the last step clean and corrupted inputs differ by {span}"
            under = f" (it takes {ERRORS} standard errors)"
            return Finding(f"On {of} no edge is born: {why}{under}", "not found", "births")
        old = int((born == self.steps[0]).sum())
        first, middle, last = (f"{step:,.0f}" for step in np.quantile(born, (0, 0.5, 1)))
        accurate = self.accurate[part]
        when = "never" if np.isnan(accurate) else f"at step {accurate:,.0f}"
        text = f"On {of} {len(born)} edges reach half their final effect at steps {first} to {last}"
        text += f" (median {middle}; {old} have it at the first step); accuracy passes half {when}"
        return Finding(text, "null" if old >= OLD_SHARE * len(born) else "found", "births")

    def marks(self) -> dict[str, float]:
        """The median births, where there are any."""
        summary = self.summary()
        marks = {f"edges on {part} pairs": summary[f"median_born_{part}"] for part in self.parts}
        return {name: float(step) for name, step in marks.items() if not math.isnan(float(step))}

    def figures(self) -> Mapping[str, Drawing]:
        """Accuracy, span and the effects of edges through training, for each part."""
        born = [
            f"{part} pairs {np.nanmin(steps):.0f} to {np.nanmax(steps):.0f}"
            for part, steps in zip(self.parts, self.born, strict=True)
            if np.isfinite(steps).any()
        ]
        if not born:
            return {
                "births": plots.empty(
                    "No edge is born",
                    "at the last step the span is under three of its standard errors",
                )
            }
        of_accuracy = [
            f"{part} {step:.0f}" for part, step in zip(self.parts, self.accurate, strict=True)
        ]
        return {
            "births": plots.grid(
                [
                    *(self._accuracy_panel(part) for part in range(len(self.parts))),
                    *(self._span_panel(part) for part in range(len(self.parts))),
                    *(self._edges_panel(part) for part in range(len(self.parts))),
                ],
                title=f"Edges have half their effect at steps: {', '.join(born)} (half accuracy: "
                f"{', '.join(of_accuracy)})",
                across="training step",
                columns=len(self.parts),
                xaxis={},
            )
        }

    def _accuracy_panel(self, part: int) -> plots.Panel:
        curve = plots.line(self.steps, self.accuracy[part], "accuracy", stroke(0, 2))
        return plots.Panel(f"{self.parts[part]} pairs", "accuracy", [curve], (0, 1.02))

    def _span_panel(self, part: int) -> plots.Panel:
        steps, reach = np.array(self.steps), MIN_SPAN * self.span_errors[part]
        return plots.Panel(
            "",
            f"span, {plots.words(self.metric)}",
            [
                plots.band(steps, (-reach, reach), "within 3 standard errors"),
                plots.line(steps, self.spans[part], "span", stroke(0, 2)),
            ],
        )

    def _edges_panel(self, part: int) -> plots.Panel:
        shown = np.isfinite(self.born[part])
        kinds = dict.fromkeys(np.array(self.kinds)[np.isfinite(self.born).any(0)].tolist())
        curves = [plots.line(self.steps, np.full(len(self.steps), 0.5), "half", HALF)]
        for index, kind in enumerate(kinds):
            edges = shown & (np.array(self.kinds) == kind)
            if edges.any():
                shares = self.scores[part][:, edges] / self.final[part][edges]
                curves.append(plots.line(self.steps, shares.mean(1), kind, stroke(index, 2)))
        return plots.Panel("", "score / final score", curves)


def pairs_by_part(series: Checkpoints, count: int, change: str) -> dict[str, Pairs]:
    """Pairs of training and held-out splits, or of the task's own where it has neither.

    Raises:
        ValueError: The task gives no such pairs.
    """
    pairs = {}
    for split in PARTS:
        with suppress(ValueError):  # the task has no such split
            pairs[split] = series.input_pairs(split, count, change)
    return pairs or {OWN: series.input_pairs(None, count, change)}


def _measured(runs: EdgeRuns) -> Float[np.ndarray, " number"]:
    """The span, its error, accuracy on clean inputs, and the scores of the edges."""
    nothing = torch.zeros(1, len(runs.graph.edges), dtype=torch.bool)
    span = runs.clean - runs.corrupted
    accuracy = runs.with_corrupted(nothing, "accuracy").mean()
    numbers = torch.stack([span.mean(), standard_error(span), accuracy])
    return torch.cat([numbers, mean_scores(runs)]).numpy()
