"""What the weights component and the context component share: scores of probes, and their pictures.

Each is probed at the residual stream after every block, in each of its forms, with the functions
beneath `ProbeAccuracy`: held-out scores, penalties chosen on validation rows, labels shuffled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from analyses import plots
from analyses.plots.panels import Trace, multiples
from analyses.plots.style import DASHES, PALETTE, line
from analyses.probes.evaluate import split_by_group
from analyses.probes.inputs import digest
from analyses.probes.table import baselines, probe_table, questions, raw_scores
from analyses.probes.without_context import States
from analyses.result import Drawing, Drawings, Result
from hooks import Examples, Snapshot

C = TypeVar("C", bound="ComponentScores")


@dataclass(frozen=True, eq=False)
class ComponentScores(Result):
    """How well each label is read from each form of a component, after every block.

    Scores are accuracy for classes and R² for real values, on held-out prompts.

    Attributes:
        labels: What is read.
        n_classes: Number of classes of each; 0 for real values.
        forms: How the component was taken.
        sites: Hook points.
        score: Score on held-out prompts.
        low: Lower end of its 95 % interval.
        high: Upper end.
        validation: Score on the prompts that chose the penalty.
        shuffled: Score of the same probe on shuffled labels.
        initial: Score at the first snapshot; NaN where none is known.
        raw: Score on the raw input.
        baseline: Score of guessing the commonest class or the mean.
        mean_of: How many labels, from the first, the means are over.
        held_out: Number of held-out prompts.
        method: `ridge`, `logistic` or `adam`.
        probed: Code of prompts, method, penalties and seed.
    """

    count: ClassVar = 4000
    reference: ClassVar = "first"
    sliding: ClassVar = ("layers", "labels")
    depth: ClassVar = ("quarter", 1 / 4)  # what is quoted, and the share of blocks before it

    labels: tuple[str, ...]
    n_classes: tuple[int, ...]
    forms: tuple[str, ...]
    sites: tuple[str, ...]
    score: Float[np.ndarray, "label form site"]
    low: Float[np.ndarray, "label form site"]
    high: Float[np.ndarray, "label form site"]
    validation: Float[np.ndarray, "label form site"]
    shuffled: Float[np.ndarray, "label form site"]
    initial: Float[np.ndarray, "label form site"]
    raw: Float[np.ndarray, " label"]
    baseline: Float[np.ndarray, " label"]
    mean_of: int
    held_out: int
    method: str
    probed: str

    @property
    def quoted(self) -> int:
        """The site at the depth that is quoted: of twelve blocks, a quarter is the third's."""
        return max(0, round(len(self.sites) * self.depth[1]) - 1)

    @property
    def best(self) -> tuple[int, ...]:
        """Each form's site where validation prompts are read best, over the labels that count."""
        means = self.validation[: self.mean_of].mean(0)
        return tuple(int(each) for each in means.argmax(1))

    def mean(self, scores: Float[np.ndarray, "label form site"]) -> Float[np.ndarray, "form site"]:
        """Means over the labels that count, each with the same weight."""
        return scores[: self.mean_of].mean(0)

    def summary(self) -> dict[str, float | str]:
        """By form, the mean score at the quoted depth and at the best site.

        Beside each the same at the first snapshot; raw input and guess; each label's own score at
        the quoted depth in the first form.
        """
        score, initial = self.mean(self.score), self.mean(self.initial)
        found: dict[str, float | str] = {}
        for form, name in enumerate(self.forms):
            for place, site in ((self.depth[0], self.quoted), ("best", self.best[form])):
                found[f"{name}_{place}"] = float(score[form, site])
                found[f"{name}_{place}_initial"] = float(initial[form, site])
        found["raw"] = float(self.raw[: self.mean_of].mean())
        found["baseline"] = float(self.baseline[: self.mean_of].mean())
        own = self.score[:, 0, self.quoted]
        return found | {name: float(each) for name, each in zip(self.labels, own, strict=True)}

    def to_frame(self) -> pd.DataFrame:
        """One row a label, form and site: score, interval and every control."""
        label, form, site = (axis.ravel() for axis in np.indices(self.score.shape))
        named = {
            "label": np.array(self.labels)[label],
            "form": np.array(self.forms)[form],
            "site": np.array(self.sites)[site],
        }
        fields = ("score", "low", "high", "validation", "shuffled", "initial")
        scores = {name: getattr(self, name).ravel() for name in fields}
        return pd.DataFrame(
            named | scores | {"raw": self.raw[label], "baseline": self.baseline[label]}
        )

    def figures(self) -> Mapping[str, Drawing]:
        """Mean scores by block, and each label in the first form at the quoted depth."""
        return Drawings(layers=self._layers, labels=self._labels)

    def _layers(self) -> Drawing:
        score, initial = self.mean(self.score), self.mean(self.initial)
        controls = {"raw input": self.raw, "guess": self.baseline}
        levels = {name: each[: self.mean_of].mean() for name, each in controls.items()}
        blocks = np.arange(1, len(self.sites) + 1)
        panels = {}
        for form, name in enumerate(self.forms):
            curves = {"this step": score[form], "first step": initial[form]}
            curves |= {each: np.full(len(blocks), level) for each, level in levels.items()}
            panels[plots.words(name)] = [
                _curve(blocks, y, label, index) for index, (label, y) in enumerate(curves.items())
            ]
        first = f"{score[0, self.quoted]:.2f}"
        low = min(0.0, float(np.nanmin(score)))
        return multiples(
            panels, axes=("block", self._unit), columns=len(panels),
            title=f"{self._what}: {first} after block {self.quoted + 1} ({self._first})",
            xaxis={"dtick": max(1, len(blocks) // 6)}, yaxis={"range": [low, 1.03]},
        )  # fmt: skip

    def _labels(self) -> Drawing:
        heights = {
            self._first: self.score[:, 0, self.quoted],
            "first step": self.initial[:, 0, self.quoted],
            "raw input": self.raw,
            "shuffled labels": self.shuffled[:, 0, self.quoted],
            "guess": self.baseline,
        }
        known = {name: each for name, each in heights.items() if not np.isnan(each).all()}
        title = f"{self._what} after block {self.quoted + 1} ({self._first})"
        return plots.bars(list(self.labels), known, title=title, axes=("label", self._unit))

    @property
    def _first(self) -> str:
        return plots.words(self.forms[0])

    @property
    def _what(self) -> str:
        return plots.words(type(self).__name__.removesuffix("Component")) + " component"

    @property
    def _unit(self) -> str:
        kinds = ["accuracy"] * any(self.n_classes) + ["R²"] * (0 in self.n_classes)
        return f"held-out {' or '.join(kinds)}"


def _curve(x: np.ndarray, y: np.ndarray, name: str, index: int) -> Trace:
    style = {"color": PALETTE[index], "dash": DASHES[index % len(DASHES)]}
    return line(x, y, name, style | {"width": 2 if index else 3})


def component_fields(
    values: Mapping[str, Shaped[Tensor, " batch"]],
    states: Mapping[str, States],
    examples: Examples,
    *,
    has_raw: bool,
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """The fields of a result, `mean_of` and the first snapshot's scores left out.

    Args:
        values: Labels by name.
        states: By form, features by site.
        examples: Their inputs are what the raw scores read.
        has_raw: Whether to read the raw input; NaN otherwise.
        how: Method, penalties and seed of the probes.

    Raises:
        ValueError: A label cannot be probed, such as for too few prompts of a class.
    """
    split = split_by_group(torch.arange(len(examples)), seed=how["seed"])
    index = torch.zeros(len(examples), 1, dtype=torch.long)
    asked = questions(values, split, index, method=how["method"], is_choosy=False)
    flat = {f"{form} {site}": each for form, at in states.items() for site, each in at.items()}
    sites = tuple(next(iter(states.values())))
    table = probe_table(asked, flat, **how)
    fields = ("score", "low", "high", "validation", "shuffled")
    shape = (len(asked.targets), len(states), len(sites))
    unknown = np.full(len(asked.targets), np.nan)
    return {
        "labels": tuple(asked.targets), "n_classes": asked.n_classes,
        "forms": tuple(states), "sites": sites,
        **{name: table[name].reshape(shape) for name in fields},
        "initial": np.full(shape, np.nan),
        "raw": raw_scores(asked, examples, **how)[:, 0] if has_raw else unknown,
        "baseline": baselines(asked)[:, 0],
        "held_out": int(split.test.sum()), "method": how["method"],
        "probed": digest(examples, how),
    }  # fmt: skip


def residual_sites(snapshot: Snapshot) -> list[str]:
    """The residual stream after every block."""
    return [f"blocks.{layer}.hook_resid_post" for layer in range(snapshot.config.n_layers)]


def beside(result: C, first: "C | None", step: int | None) -> C:
    """The result with the first snapshot's scores, and those of the raw input, as controls.

    Raises:
        ValueError: The first was measured on other prompts or with other options.
    """
    if first is None:
        return replace(result, initial=result.score) if step == 0 else result
    ours, theirs = (
        (each.labels, each.forms, each.sites, each.method, each.probed) for each in (result, first)
    )
    if ours != theirs:
        raise ValueError(
            f"reference: its labels, forms, sites, method, `probed` are {theirs}, here they are "
            f"{ours}: measure it on the same prompts with the same options"
        )
    return replace(result, initial=first.score, raw=first.raw)
