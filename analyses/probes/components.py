"""What the weights component and the context component share: scores of probes, and their pictures.

Each is probed at the residual stream after every block, in each of its forms, with the functions
beneath `ProbeAccuracy`: held-out scores, penalties chosen on validation rows, labels shuffled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from analyses import plots
from analyses.plots.panels import Trace, multiples
from analyses.plots.style import DASHES, PALETTE, line
from analyses.probes.evaluate import check_method, split_by_group
from analyses.probes.fit import PENALTIES
from analyses.probes.inputs import digest, label_values
from analyses.probes.table import baselines, probe_table, questions, raw_scores
from analyses.probes.without_context import (
    FORMS,
    States,
    query_only,
    states_in_context,
    states_without_context,
)
from analyses.requirements import Needs, check_needs
from analyses.result import Drawing, Drawings, Result
from analyses.statistics import SIZE_FLOOR
from hooks import Examples, PromptFacts, Snapshot

# from analyses/probes/context_component.py:
# What does context add to a query? Whether it is read off which factor, or rule, is asked for.
#
# The stream of a prompt's last query with its whole context, and the rest that remains of it when
# what the weights alone make of the query is taken off, in each of the three forms:
#
#     in_context = h(q; C)        beyond_<form> = h(q; C) - w_form(q)
#
# Source: Fu et al. 2024 (arXiv:2309.06054), who probe h(q; C) for the factor that the prompt is
# about; at which layer is not known to us. They define the component as the remainder and do not
# subtract: the remainders are ours.
#

# from analyses/probes/weights_component.py:
# What do the weights alone make of a query? Its factors, read from its stream without context.
#
# Where this gets worse while training, below its value at the start, the paper speaks of dysfunction:
# what must be compared with the context's examples is no longer there.
#
# Source: Fu et al. 2024 (arXiv:2309.06054) and code: attention replaced by the identity, the output
# of the third of twelve blocks, one linear layer that reads all factors, mean accuracy over factors.
# There Adam makes one pass over 4 million images (`method="adam"` makes as many updates); here each
# factor has its own ridge probe, fitted to the end on the prompts' last images.
#

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


IN_CONTEXT = "in_context"


@dataclass(frozen=True, eq=False)
class ContextComponent(ComponentScores):
    """How well the latent task of a prompt is read from its last query's residual stream.

    The first label is the task as one of so many; the others ask for each task whether it is this
    one. Means are over the first alone. `raw` reads the inputs of all positions.
    """

    needs: ClassVar = Needs(attention=True, facts={PromptFacts: ("asked",)})
    depth: ClassVar = ("middle", 1 / 2)

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "ContextComponent | None" = None,
        forms: Sequence[str] = FORMS,
        method: str = "ridge",
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> "ContextComponent":
        """Measures one snapshot on its prompts.

        Args:
            snapshot: A model, on prompts that ask for one of several things.
            reference: The first snapshot's result with the same options; one of step 0 is its own.
            forms: How what the weights make of the query is told: identity, alone, zeroed.
            method: "ridge", "logistic" or "adam".
            penalties: Candidates, of which each probe takes the best on validation prompts.
            seed: Of the split and the shuffles.

        Raises:
            ValueError: Prompts do not say what they ask for, it cannot be probed, a form or method
                is unknown, activations are not finite, or `reference` has other options.
        """
        check_needs(cls, snapshot)
        check_method(method, penalties)
        sites = residual_sites(snapshot)
        states = {IN_CONTEXT: states_in_context(snapshot, sites)}
        for form in forms:
            without = states_without_context(snapshot, sites, form)
            states[f"beyond_{form}"] = _difference(states[IN_CONTEXT], without)
        how: dict[str, Any] = {"seed": seed, "method": method, "penalties": tuple(penalties)}
        fields = component_fields(
            asked_values(snapshot.examples), states, snapshot.examples,
            has_raw=reference is None, how=how,
        )  # fmt: skip
        return beside(cls(**fields, mean_of=1), reference, snapshot.step)


def asked_values(examples: Examples) -> Mapping[str, Int[Tensor, " batch"]]:
    """What prompts ask for: as one of so many under the label's name, and yes or no for each.

    Raises:
        ValueError: All prompts ask for the same.
    """
    facts = examples.facts(PromptFacts)
    label, names = facts.asked, facts.asked_names
    (values,) = label_values(examples, label).values()
    every = values.unique().tolist()
    if len(every) < 2:
        raise ValueError(f"label '{label}' is the same in all {len(examples)} prompts: take more")
    is_each = {
        f"is {names[each] if len(names) > each else each}": (values == each).long()
        for each in every
    }
    return {label: values} | is_each


def _difference(states: States, without: States) -> States:
    return {site: remainder(states[site], without[site]) for site in states}


def remainder(
    whole: Float[Tensor, "batch query feature"], part: Float[Tensor, "batch query feature"]
) -> Float[Tensor, "batch query feature"]:
    """One less the other, features that are left with rounding alone taken as 0.

    Rounding is told by the largest number of the whole: a probe scales its features, and would
    read what the two were rounded to.
    """
    left = whole - part
    spread = left.amax((0, 1)) - left.amin((0, 1))
    return left.masked_fill(spread <= SIZE_FLOOR * whole.abs().max(), 0)


@dataclass(frozen=True, eq=False)
class WeightsComponent(ComponentScores):
    """How well each factor of a query is read from its residual stream without context.

    `raw` reads the query's own input. Where factors are real numbers (inputs of a function) scores
    are R², so that 1 - score is the error over that of guessing the mean.
    """

    needs: ClassVar = Needs(attention=True, facts={PromptFacts: ("factors",)})

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "WeightsComponent | None" = None,
        forms: Sequence[str] = FORMS,
        method: str = "ridge",
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> "WeightsComponent":
        """Measures one snapshot on the last queries of its prompts.

        Args:
            snapshot: A model, on prompts whose last query has factors as labels.
            reference: The first snapshot's result with the same options; one of step 0 is its own.
            forms: How context is taken away: identity, alone, zeroed; the first is quoted.
            method: "ridge", or "logistic" and "adam", which read classes only.
            penalties: Candidates, of which each probe takes the best on validation prompts.
            seed: Of the split and the shuffles.

        Raises:
            ValueError: The examples have no factors, one cannot be probed, a form or method is
                unknown, activations are not finite, or `reference` has other options.
        """
        check_needs(cls, snapshot)
        check_method(method, penalties)
        single, sites = query_only(snapshot.examples), residual_sites(snapshot)
        states = {form: states_without_context(snapshot, sites, form) for form in forms}
        if not states:
            raise ValueError(f"forms: name one of {', '.join(FORMS)}")
        values = label_values(single, single.facts(PromptFacts).factors)
        how: dict[str, Any] = {"seed": seed, "method": method, "penalties": tuple(penalties)}
        fields = component_fields(values, states, single, has_raw=reference is None, how=how)
        result = cls(**fields, mean_of=len(fields["labels"]))
        return beside(result, reference, snapshot.step)
