"""What is linearly readable from the residual stream, and where?

A linear probe for each label at each site (a hook point) and position, scored on examples it was
not fitted on. A score alone says little, so beside it stand the same probe on shuffled labels, on
the untrained model and on the raw input, and the guess of the commonest class or mean.

Source: linear probes after Alain & Bengio 2016 (arXiv:1610.01644), untrained and shuffled controls
in the spirit of Hewitt & Liang 2019 (arXiv:1909.03368), who give random labels to word types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from analyses import plots
from analyses.findings import Finding, Strength, percent
from analyses.probes.evaluate import check_method, score_unit, split_by_group
from analyses.probes.fit import PENALTIES
from analyses.probes.inputs import (
    DEFAULT_SITES,
    activations,
    beside_first,
    chosen_sites,
    group_values,
    label_values,
    places,
)
from analyses.probes.scores import probe_task, scores_and_controls
from analyses.requirements import Needs, check_needs
from analyses.result import BaseResult, Drawing, Result
from hooks import Snapshot

SPLITS = ("train", "test", "validation", "generalization", "split")  # labels that say which one
MOST_FINDINGS = 3
CONTROLS = {
    "untrained": "untrained model",
    "raw": "raw input",
    "shuffled": "shuffled labels",
    "baseline": "commonest class or mean",
}
STREAM = {"resid_pre": "before", "resid_mid": "after attention of", "resid_post": "after"}
Labels = str | Sequence[str] | Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class ProbeAccuracy(Result):
    """How well linear probes read each label at each site and position, beside its controls.

    Scores are accuracy for classes and R^2 for real values, on held-out examples. They are NaN
    at positions that too few examples reach, `untrained` also where no untrained model is known.

    Attributes:
        labels: What is read.
        n_classes: Number of classes of each label; 0 for real values.
        sites: Hook points.
        positions: Positions, negative ones counted from each example's end.
        score: Score on held-out examples.
        low: Lower end of its 95 % interval.
        high: Upper end.
        validation: Score on the examples that chose the penalty.
        penalty: The penalty chosen.
        shuffled: Score of the same probe on shuffled labels.
        untrained: Score at the first snapshot; at step 0 the same as `score`.
        raw: Score on the input itself, all positions of it.
        baseline: Score of guessing the commonest class or the mean.
        held_out: Number of held-out examples and of held-out groups.
        method: `ridge`, `logistic` or `adam`.
        probed: Code of examples, method, penalties and seed.
        left_out: Labels that were not asked for by name and cannot be probed, and why.
    """

    needs: ClassVar = Needs(any_label=True)
    by_default: ClassVar = Needs(any_hook_points=DEFAULT_SITES)  # other sites are named in options
    count: ClassVar = 4000
    reference: ClassVar = "first"
    sliding: ClassVar = ("controls", "places")
    always_needed: ClassVar = False  # labels may be given as arrays

    labels: tuple[str, ...]
    n_classes: tuple[int, ...]
    sites: tuple[str, ...]
    positions: tuple[int, ...]
    score: Float[np.ndarray, "label site position"]
    low: Float[np.ndarray, "label site position"]
    high: Float[np.ndarray, "label site position"]
    validation: Float[np.ndarray, "label site position"]
    penalty: Float[np.ndarray, "label site position"]
    shuffled: Float[np.ndarray, "label site position"]
    untrained: Float[np.ndarray, "label site position"]
    raw: Float[np.ndarray, "label position"]
    baseline: Float[np.ndarray, "label position"]
    held_out: tuple[int, int]
    method: str
    probed: str
    left_out: dict[str, str]

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "ProbeAccuracy | None" = None,
        labels: Labels = None,
        sites: str | Sequence[str] | None = None,
        position: int | Sequence[int] | Literal["all"] | None = None,
        group: str | None = None,
        method: str = "ridge",
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> "ProbeAccuracy":
        """Measures one snapshot on its examples.

        Args:
            snapshot: Any model; ridge costs well under a second.
            reference: The untrained model's result with the same options, for its scores and
                those of the raw input; a snapshot of step 0 is its own.
            labels: Names of labels, or arrays by name with one value an example or position; by
                default every label with one value an example that varies.
            sites: Hook points; by default embedding and residual stream after each half block.
            position: One or several, negative from each example's end, or "all"; the last scored
                one if left out.
            group: A label whose equal values are held out together; by default nothing is tied.
            method: "ridge", or "logistic" and "adam", which read classes only.
            penalties: Candidates, of which each probe takes the best on validation examples.
            seed: Of the split and the shuffles.

        Raises:
            ValueError: A label, site, position or group does not fit or cannot be probed,
                activations are not finite, or `reference` was measured with other options.
        """
        if labels is None:
            check_needs(cls, snapshot)
        check_method(method, penalties)
        examples = snapshot.examples
        positions, index = places(examples, position)
        split = split_by_group(group_values(examples, group), seed=seed)
        values = label_values(examples, labels)
        task = probe_task(values, split, index, method=method, skip_unprobeable=labels is None)
        features = activations(snapshot, chosen_sites(snapshot, sites), index)
        how: dict[str, Any] = {"seed": seed, "method": method, "penalties": tuple(penalties)}
        fields = scores_and_controls(task, features, examples, has_raw=reference is None, **how)
        measured = cls(
            **fields,
            sites=tuple(features),
            positions=positions,
            untrained=np.full_like(fields["score"], np.nan),
            held_out=(int(split.test.sum()), len(split.groups[split.test].unique())),
            left_out=dict(task.left_out),
        )
        return beside_first(measured, reference, snapshot.step, "untrained")

    @property
    def highest_control(self) -> Float[np.ndarray, "label site position"]:
        """The best score of shuffled labels, untrained model, raw input and plain guess."""
        return np.fmax(
            np.fmax(self.shuffled, self.untrained), np.fmax(self.raw, self.baseline)[:, None]
        )

    @property
    def best(self) -> tuple[tuple[int, int], ...]:
        """For each label: the numbers of the site and position with the best validation score.

        Of equal scores the first counts; if a label is read equally well everywhere, its place says
        nothing.
        """
        flat = np.nan_to_num(self.validation, nan=-np.inf).reshape(len(self.labels), -1)
        return tuple(divmod(int(cell), len(self.positions)) for cell in flat.argmax(1))

    def summary(self) -> dict[str, float | str]:
        """For each label: the place with the best validation score, its score and best control.

        The probe of a label that names a split is called `<split>_membership`: it reads which
        examples the split has, and its accuracy is not the model's on that split.
        """
        scalars: dict[str, float | str] = {}
        for label, name in enumerate(map(_scalar_name, self.labels)):
            cell, unit = (label, *self.best[label]), "accuracy" if self.n_classes[label] else "r2"
            scalars |= {
                f"{name}_{unit}": float(self.score[cell]),
                f"{name}_highest_control": float(self.highest_control[cell]),
                f"{name}_site": self._best_place(label),
            }
        return scalars

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """The labels that are read best, each beside the best of its controls, and which that is.

        Found where the lower end of the 95 % interval lies above all controls; not found where
        neither it nor a control lies above guessing by half an interval, of which one is told, and
        only if nothing is found; null where a control is as high. Labels that say in which split
        an example is are left out.
        """
        labels = [n for n, name in enumerate(self.labels) if _words(name) not in SPLITS]
        known = [n for n in labels if not np.isnan([self._read(n), self._control(n)[1]]).any()]
        ranked = sorted(known, key=lambda n: self._read(n) - self._control(n)[1], reverse=True)
        findings = [self._finding(label) for label in ranked]
        by_strength = {
            strength: [each for each in findings if each.strength == strength]
            for strength in ("found", "not found", "null")
        }
        missed = [] if by_strength["found"] else by_strength["not found"][:1]
        return (*by_strength["found"], *missed, *by_strength["null"])[:MOST_FINDINGS]

    def _read(self, label: int) -> float:
        """A label's score where validation examples are read best."""
        return float(self.score[(label, *self.best[label])])

    def _control(self, label: int) -> tuple[str, float]:
        """The best control at the same place, and its score; NaN where none is known."""
        site, position = self.best[label]
        scores = {
            "untrained": self.untrained[label, site, position],
            "raw": self.raw[label, position],
            "shuffled": self.shuffled[label, site, position],
            "baseline": self.baseline[label, position],
        }
        best = max(scores, key=lambda name: np.nan_to_num(scores[name], nan=-np.inf))
        return CONTROLS[best], float(scores[best])

    def _finding(self, label: int) -> Finding:
        cell = (label, *self.best[label])
        score, low, high = self._read(label), float(self.low[cell]), float(self.high[cell])
        control, height = self._control(label)
        chance = np.fmax(self.baseline[label, cell[2]], self.shuffled[cell])
        read = max(
            score, np.nan_to_num(self.untrained[cell]), np.nan_to_num(self.raw[label, cell[2]])
        )
        low, high = (score if np.isnan(end) else end for end in (low, high))
        strength: Strength = "found" if low > height else "null"
        if strength == "null" and read <= chance + (high - low) / 2:
            strength = "not found"
        has_classes = bool(self.n_classes[label])
        value, beside = (_score(each, has_classes=has_classes) for each in (score, height))
        verb = "is not read" if strength == "not found" else "is read"
        text = f"Label {_words(self.labels[label])} {verb} {self._in_words(label)}: "
        text += f"{'accuracy' if has_classes else 'R²'} {value}, "
        text += "no better than" if strength == "null" else "best control"
        return Finding(f"{text} {beside} ({control})", strength, "controls")

    def _in_words(self, label: int) -> str:
        """Where a label is read best, as a sentence says it."""
        site, position = self.best[label]
        return f"{_site_in_words(self.sites[site])}, {_position(self.positions[position])}"

    def figures(self) -> Mapping[str, Drawing]:
        """Labels at their best places, beside their controls; scores by site and position."""
        return {"controls": self._controls(), "places": self._places()}

    def _controls(self) -> Drawing:
        labels = np.arange(len(self.labels))
        sites, positions = np.array(self.best).T
        cells = (labels, sites, positions)
        heights = {
            "probe": self.score[cells],
            "untrained model": self.untrained[cells],
            "raw input": self.raw[labels, positions],
            "shuffled labels": self.shuffled[cells],
            "commonest class or mean": self.baseline[labels, positions],
        }
        found = self.findings()
        return plots.bars(
            [_caption(name) for name in self.labels],
            {name: scores for name, scores in heights.items() if not np.isnan(scores).all()},
            title=found[0].text if found else "What probes read, beside controls",
            axes=("label, where validation examples are read best", score_unit(self.n_classes)),
        )

    def _places(self) -> Drawing:
        rows = {"": self.score, ", untrained": self.untrained, ", shuffled": self.shuffled}
        known = {name: scores for name, scores in rows.items() if not np.isnan(scores).all()}
        names = [f"{_caption(label)}{name}" for name in known for label in self.labels]
        columns = [_place(site, position) for site in self.sites for position in self.positions]
        return plots.heatmap(
            np.concatenate(list(known.values())).reshape(len(names), -1),
            limits=(0, 1),
            ticks=(columns, names),
            title="Where each label is readable",
            axes=("site [position]", "label"),
            unit=score_unit(self.n_classes),
        )

    def _best_place(self, label: int) -> str:
        site, position = self.best[label]
        return _place(self.sites[site], self.positions[position])


def _scalar_name(label: str) -> str:
    """What scalars of a label begin with."""
    return f"{label}_membership" if _words(label) in SPLITS else label


def _caption(label: str) -> str:
    """A label in figures: of one that names a split, what it says of an example."""
    return f"in {label} or not" if _words(label) in SPLITS else label


def _words(label: str) -> str:
    return label.replace("_", " ")


def _score(score: float, *, has_classes: bool) -> str:
    return percent(score) if has_classes else f"{score:.2f}"


def _position(position: int) -> str:
    return "last position" if position == -1 else f"position {position}"


def _site_in_words(site: str) -> str:
    """A hook point as a sentence names it."""
    if site == "hook_embed":
        return "in the embedding"
    layer, _, name = site.removeprefix("blocks.").partition(".")
    when = STREAM.get(name.removeprefix("hook_"))
    if when and layer.isdigit():
        return f"{when} layer {layer}"
    return f"at {_words(site.replace('hook_', '').replace('blocks.', 'layer '))}"


def _place(site: str, position: int) -> str:
    """A hook point without what they all share, and a position."""
    return f"{site.removeprefix('blocks.').replace('hook_', '')}[{position}]"
