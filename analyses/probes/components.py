"""What do the weights alone make of a prompt's last query, and what does its context add?

The weights component is the query's stream w(q) without context, in three forms
(`analyses.probes.without_context`): its factors are read. Where this gets worse while training,
below its value at the start, the paper speaks of dysfunction: what must be compared with the
context's examples is no longer there. The context component is h(q; C), and the rest
h(q; C) - w(q) for each form: which factor, or rule, the prompt asks for is read. Both are probed
after every block.

Source: Fu et al. 2024 (arXiv:2309.06054) and code: attention replaced by the identity, the output
of the third of twelve blocks, one linear layer that reads all factors, trained by Adam on 4 million
images; the remainders are ours, and so is a ridge probe for each factor, fitted to the end. They
probe h(q; C) for the factor that the prompt is about, at a layer that is not known to us.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.findings import Finding, Strength, percent
from analyses.plots import DASHES, PALETTE, bars, line, multiples, words
from analyses.probes.evaluate import check_method, score_unit, split_by_group
from analyses.probes.fit import PENALTIES
from analyses.probes.inputs import beside_first, label_values
from analyses.probes.scores import probe_task, scores_and_controls
from analyses.probes.without_context import (
    FORMS,
    States,
    query_only,
    states_in_context,
    states_without_context,
)
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Drawings, Result
from analyses.statistics import SIZE_FLOOR
from hooks import Examples, PromptFacts, Snapshot

IN_CONTEXT = "in_context"
Probed = tuple[Examples, Mapping[str, Tensor], Mapping[str, States]]


@dataclass(frozen=True, eq=False)
class ComponentScores(Result):
    """How well each label is read from each form of a component, after every block.

    Scores are accuracy for classes and R² for real values, on held-out prompts.

    Attributes:
        labels: What is read.
        n_classes: Number of classes of each label; 0 for real values.
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
        mean_of: How many labels, counted from the first, the means are over.
        held_out: Number of held-out prompts.
        method: `ridge`, `logistic` or `adam`.
        probed: Code of prompts, method, penalties and seed.
    """

    count: ClassVar = 4000
    reference: ClassVar = "first"
    sliding: ClassVar = ("layers", "labels")
    depth: ClassVar = ("quarter", 1 / 4)  # what is quoted, and the share of blocks up to there
    is_mean_of_first: ClassVar = False  # rather than of all labels

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

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "ComponentScores | None" = None,
        forms: Sequence[str] = FORMS,
        method: str = "ridge",
        penalties: Sequence[float] = PENALTIES,
        seed: int = 0,
    ) -> "ComponentScores":
        """Measures one snapshot on its prompts.

        Args:
            snapshot: A model, on prompts that ask for one of several things, or whose last query
                has factors as labels.
            reference: The first snapshot's result with the same options; one of step 0 is its own.
            forms: How context is taken away: identity, alone, zeroed. Of the weights component the
                first is quoted.
            method: "ridge", or "logistic" and "adam", which read classes only.
            penalties: Candidates, of which each probe takes the best on validation prompts.
            seed: Of the split and the shuffles.

        Raises:
            ValueError: Prompts do not say what they ask for, or have no factors; one of these
                cannot be probed, such as for too few prompts of a class; a form or method is
                unknown, activations are not finite, or `reference` has other options.
        """
        check_method(method, penalties)
        sites = residual_sites(snapshot)
        examples, values, states = cls._probed(
            snapshot, {form: states_without_context(snapshot, sites, form) for form in forms}
        )
        split = split_by_group(torch.arange(len(examples)), seed=seed)
        task = probe_task(
            values,
            split,
            torch.zeros(len(examples), 1, dtype=torch.long),
            method=method,
            skip_unprobeable=False,
        )
        features = {f"{form} {site}": states[form][site] for form in states for site in sites}
        fields = scores_and_controls(
            task,
            features,
            examples,
            has_raw=reference is None,
            seed=seed,
            method=method,
            penalties=tuple(penalties),
        )
        del fields["penalty"]
        shape = (len(task.targets), len(states), len(sites))
        tables = ("score", "low", "high", "validation", "shuffled")
        measured = cls(
            **fields
            | {name: fields[name].reshape(shape) for name in tables}
            | {name: fields[name][:, 0] for name in ("raw", "baseline")},
            forms=tuple(states),
            sites=tuple(sites),
            initial=np.full(shape, np.nan),
            mean_of=1 if cls.is_mean_of_first else len(task.targets),
            held_out=int(split.test.sum()),
        )
        return beside_first(measured, reference, snapshot.step, "initial")

    @classmethod
    @abstractmethod
    def _probed(cls, snapshot: Snapshot, without: Mapping[str, States]) -> Probed:
        """Examples whose raw input is read, labels by name, states by form of the component.

        Args:
            snapshot: A model and its prompts.
            without: w(q) at every site, by form.
        """

    @property
    def quoted(self) -> int:
        """The site at the depth that is quoted: with twelve blocks, a quarter is the third."""
        return max(0, round(len(self.sites) * self.depth[1]) - 1)

    @property
    def best(self) -> tuple[int, ...]:
        """Each form's site where validation prompts are read best, over the labels that count."""
        return tuple(self.mean(self.validation).argmax(1).tolist())

    def mean(self, scores: Float[np.ndarray, "label form site"]) -> Float[np.ndarray, "form site"]:
        """Means over the labels that count, each with the same weight."""
        return scores[: self.mean_of].mean(0)

    def summary(self) -> dict[str, float | str]:
        """By form, the mean score at the quoted depth and at the best site.

        Beside each the same at the first snapshot; raw input and guess; each label's own score at
        the quoted depth in the first form.
        """
        score, initial = self.mean(self.score), self.mean(self.initial)
        scalars: dict[str, float | str] = {}
        for form, name in enumerate(self.forms):
            for place, site in ((self.depth[0], self.quoted), ("best", self.best[form])):
                scalars[f"{name}_{place}"] = float(score[form, site])
                scalars[f"{name}_{place}_initial"] = float(initial[form, site])
        scalars["raw"] = float(self.raw[: self.mean_of].mean())
        scalars["baseline"] = float(self.baseline[: self.mean_of].mean())
        return scalars | dict(zip(self.labels, self.score[:, 0, self.quoted].tolist(), strict=True))

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How well the labels are read at the quoted depth in the first form, beside controls."""
        initial = self.initial
        if isinstance(untrained, type(self)) and untrained.score.shape == self.score.shape:
            initial = untrained.score
        return self._findings(float(self.mean(initial)[0, self.quoted]))

    @abstractmethod
    def _findings(self, initial: float) -> tuple[Finding, ...]:
        """The findings, given the mean score at the first snapshot, NaN where it is not known."""

    def _level(self, scores: Float[np.ndarray, "label form site"]) -> float:
        """A mean over the labels that count, at the quoted depth in the first form."""
        return float(self.mean(scores)[0, self.quoted])

    @property
    def _margin(self) -> float:
        """From the score down to the lower end of its interval, the mean over labels."""
        return float(np.nan_to_num(self._level(self.score - self.low)))

    def _as_text(self, score: float) -> str:
        """Accuracy as a share, or R²."""
        return percent(score) if all(self.n_classes) else f"{score:.2f}"

    @property
    def _unit(self) -> str:
        return "accuracy" if all(self.n_classes) else "R²"

    @property
    def _after(self) -> str:
        return f"after block {self.quoted + 1} ({self._first})"

    def figures(self) -> Mapping[str, Drawing]:
        """Mean scores by block, and each label in the first form at the quoted depth."""
        return Drawings(layers=self._layers, labels=self._labels)

    def _layers(self) -> Drawing:
        score, initial = self.mean(self.score), self.mean(self.initial)
        blocks = np.arange(1, len(self.sites) + 1)
        levels = {
            "raw input": np.full(len(blocks), self.raw[: self.mean_of].mean()),
            "guess": np.full(len(blocks), self.baseline[: self.mean_of].mean()),
        }
        panels = {}
        for form, name in enumerate(self.forms):
            curves = {"this step": score[form], "first step": initial[form]} | levels
            panels[words(name)] = [
                line(blocks, y, label, {"color": colour, "dash": dash, "width": width})
                for (label, y), colour, dash, width in zip(
                    curves.items(), PALETTE, DASHES, (3, 2, 2, 2), strict=False
                )
            ]
        quoted = f"{score[0, self.quoted]:.2f} after block {self.quoted + 1} ({self._first})"
        quoted += f", guess {self.baseline[: self.mean_of].mean():.2f}"
        return multiples(
            panels,
            axes=("block", score_unit(self.n_classes)),
            columns=len(panels),
            title=f"{self._name}: {quoted}",
            xaxis={"dtick": max(1, len(blocks) // 6)},
            yaxis={"range": [min(0.0, float(np.nanmin(score))), 1.03]},
        )

    def _labels(self) -> Drawing:
        heights = {
            self._first: self.score[:, 0, self.quoted],
            "first step": self.initial[:, 0, self.quoted],
            "raw input": self.raw,
            "shuffled labels": self.shuffled[:, 0, self.quoted],
            "guess": self.baseline,
        }
        return bars(
            list(self.labels),
            {name: scores for name, scores in heights.items() if not np.isnan(scores).all()},
            title=f"{self._name} after block {self.quoted + 1} ({self._first})",
            axes=("label", score_unit(self.n_classes)),
        )

    @property
    def _first(self) -> str:
        return words(self.forms[0])

    @property
    def _name(self) -> str:
        return type(self).__name__.replace("Component", " component")


@dataclass(frozen=True, eq=False)
class ContextComponent(ComponentScores):
    """How well the latent task of a prompt is read from its last query's residual stream.

    The first label is the task as one of several classes; each further label asks of one of the
    tasks whether it is this one. Means are over the first alone. `raw` reads the inputs of all
    positions.
    """

    needs: ClassVar = Needs(attention=True, facts={PromptFacts: ("asked",)})
    depth: ClassVar = ("middle", 1 / 2)
    is_mean_of_first: ClassVar = True

    def _findings(self, initial: float) -> tuple[Finding, ...]:
        """Found where the lower end of the interval lies above all controls, null elsewhere."""
        controls = {
            "first step": initial,
            "raw input": float(self.raw[0]),
            "shuffled labels": self._level(self.shuffled),
            "guess": float(self.baseline[0]),
        }
        known = {name: score for name, score in controls.items() if not np.isnan(score)}
        score, best = self._level(self.score), max(known, key=lambda name: known[name])
        text = f"What a prompt asks for is read {self._after} with {self._unit} "
        text += f"{self._as_text(score)}, best control {self._as_text(known[best])} ({best})"
        if best != "guess":
            text += f", guess {self._as_text(known['guess'])}"
        strength: Strength = "found" if score - self._margin > known[best] else "null"
        return (Finding(text, strength, "layers"),)

    @classmethod
    def _probed(cls, snapshot: Snapshot, without: Mapping[str, States]) -> Probed:
        whole = states_in_context(snapshot, residual_sites(snapshot))
        beyond = {
            f"beyond_{form}": {site: remainder(whole[site], states[site]) for site in whole}
            for form, states in without.items()
        }
        return snapshot.examples, asked_values(snapshot.examples), {IN_CONTEXT: whole} | beyond


@dataclass(frozen=True, eq=False)
class WeightsComponent(ComponentScores):
    """How well each factor of a query is read from its residual stream without context.

    `raw` reads the query's own input. Where factors are real numbers (inputs of a function) scores
    are R², so that 1 - score is the error over that of guessing the mean.
    """

    needs: ClassVar = Needs(attention=True, facts={PromptFacts: ("factors",)})

    def _findings(self, initial: float) -> tuple[Finding, ...]:
        """Whether factors are read worse than at the start; nothing where that is not known.

        Found where the score has fallen by more than half its 95 % interval, not found elsewhere.
        """
        if np.isnan(initial):
            return ()
        score, guess = self._level(self.score), float(self.baseline.mean())
        has_fallen = score + self._margin < initial
        text = "A query's factors are read worse without context than before training"
        if not has_fallen:
            text = "A query's factors are read without context at least as well as before training"
        text += f" {self._after}: {self._unit} {self._as_text(score)}, first step "
        text += f"{self._as_text(initial)} (guess {self._as_text(guess)})"
        return (Finding(text, "found" if has_fallen else "not found", "layers"),)

    @classmethod
    def _probed(cls, snapshot: Snapshot, without: Mapping[str, States]) -> Probed:
        if not without:
            raise ValueError(f"forms: name one of {', '.join(FORMS)}")
        single = query_only(snapshot.examples)
        return single, label_values(single, single.facts(PromptFacts).factors), without


def residual_sites(snapshot: Snapshot) -> list[str]:
    """The residual stream after every block."""
    return [f"blocks.{layer}.hook_resid_post" for layer in range(snapshot.config.n_layers)]


def asked_values(examples: Examples) -> Mapping[str, Int[Tensor, " batch"]]:
    """What prompts ask for: as one of several classes, and for each class whether it is the one.

    Raises:
        ValueError: All prompts ask for the same.
    """
    facts = examples.facts(PromptFacts)
    label, names = facts.asked, facts.asked_names
    (values,) = label_values(examples, label).values()
    tasks = values.unique().tolist()
    if len(tasks) < 2:
        raise ValueError(f"label '{label}' is the same in all {len(examples)} prompts: take more")
    return {label: values} | {
        f"is {names[task] if len(names) > task else task}": (values == task).long()
        for task in tasks
    }


def remainder(
    whole: Float[Tensor, "batch query feature"], part: Float[Tensor, "batch query feature"]
) -> Float[Tensor, "batch query feature"]:
    """The whole less the part, with features of which only rounding is left set to 0.

    What is rounding follows from the largest number of the whole. A probe scales its features, and
    would read how the two were rounded.
    """
    rest = whole - part
    spread = rest.amax((0, 1)) - rest.amin((0, 1))
    return rest.masked_fill(spread <= SIZE_FLOOR * whole.abs().max(), 0)
