"""What are the right answers of prompts, and how far from them are a model's and baselines'?

Prompts as baselines see them: inputs and answers, a column for each answer, and groups of prompts;
predictions of a model and of baselines at the scored positions; errors of predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from analyses.in_context.baseline_names import baseline, is_repeated, is_slow
from analyses.statistics import ratio
from hooks import LATE_ANSWERS, Examples, Facts, MixtureFacts, PromptFacts, Snapshot

SLOW_BASELINE_PROMPTS = 50  # prompts of all groups together that slow baselines are fitted to
PROMPTS_PER_BATCH = 256  # prompts whose logits are held at a time


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts, with a column for each answer.

    Attributes:
        targets: The right answers.
        scored: At which positions answers are.
        inputs: The inputs that the targets answer; None if inputs are tokens or answers classes.
        by: The labels that distinguish groups, with commas; empty if there is one group.
        groups: Rows of the prompts of each group, by its name.
        facts: What the task says of all its prompts.
    """

    targets: Shaped[Tensor, "prompt pair"]
    scored: Bool[Tensor, "prompt pos"]
    inputs: Float[Tensor, "prompt pair d"] | None
    by: str
    groups: Mapping[str, Int[Tensor, " row"]]
    facts: Facts = field(repr=False)

    @property
    def is_real(self) -> bool:
        """Whether answers are numbers rather than classes."""
        return self.targets.is_floating_point()

    @property
    def d(self) -> int:
        """Numbers of an input; 0 if there are none."""
        return 0 if self.inputs is None else self.inputs.shape[2]

    @property
    def scale(self) -> Float[np.ndarray, " group"]:
        """What squared errors of each group are divided by: the mean square of its answers.

        NaN where all answers are 0, beside which no error has a size.
        """
        if not self.is_real:
            return np.ones(len(self.groups))
        squares = self.targets.double().square()
        means = np.array([float(squares[rows].mean()) for rows in self.groups.values()])
        return np.where(means > 0, means, np.nan)

    def given(self, name: str) -> Bool[Tensor, " prompt"]:
        """Which prompts a curve is predicted for: all, or for a slow baseline a few of each group.

        A slow baseline gets the first prompts of each group, equally many, at least one.
        """
        is_given = torch.ones(len(self.targets), dtype=torch.bool)
        if is_slow(name):
            per_group = max(1, SLOW_BASELINE_PROMPTS // len(self.groups))
            for rows in self.groups.values():
                is_given[rows[per_group:]] = False
        return is_given

    def rows(self, group: int, *names: str) -> Int[Tensor, " row"]:
        """The prompts of a group that all of the named curves are predicted for."""
        rows = list(self.groups.values())[group]
        for name in names:
            rows = rows[self.given(name)[rows]]
        return rows

    def errors(
        self, predicted: Shaped[Tensor, "prompt pair"], group: int, name: str = ""
    ) -> Float[Tensor, "row pair"]:
        """Normalised errors on the prompts of a group that the named curve is predicted for."""
        rows = self.rows(group, name)
        if not self.is_real:
            return (predicted[rows] != self.targets[rows]).double()
        return (predicted[rows] - self.targets[rows]).double().square() / self.scale[group]

    def baselines(self, names: Sequence[str]) -> dict[str, Shaped[Tensor, "prompt pair"]]:
        """Predictions of baselines by name; NaN for prompts that a slow baseline skips.

        If answers are classes, the only baseline is the most frequent answer so far, whatever the
        names. A joint ridge that is the same as a named ridge is left out.

        Raises:
            ValueError: A name is unknown, or its number no number.
        """
        functions = {name: baseline(name, self.facts, self.d) for name in names}
        if not self.is_real:
            return {"most_frequent": most_frequent(self.targets)}
        if self.inputs is None:
            return {}
        x, y = self.inputs.double(), self.targets.double()
        predicted = {}
        for name, predict in functions.items():
            if predict is not None and not is_repeated(name, names, self.facts):
                given = self.given(name)
                predicted[name] = torch.full_like(y, torch.nan)
                predicted[name][given] = predict(x[given], y[given])
        return predicted


def prompts_of(examples: Examples, by: str | None) -> Prompts:
    """Examples as prompts.

    Args:
        examples: All scored at the same number of positions.
        by: The label to group by, or several with commas between them; None for the labels that the
            task names (`PromptFacts.group`).

    Raises:
        ValueError: Prompts are scored at different numbers of positions, hold NaN or infinity, or
            have no such label.
    """
    scored, counts = examples.scored, examples.scored.sum(1)
    if not len(counts) or int(counts.min()) != int(counts.max()) or int(counts.max()) < 2:
        raise ValueError(
            "InContextCurve needs prompts that are all scored at the same number of positions, "
            "two at least"
        )
    for name, values in (("inputs", examples.inputs), ("targets", examples.targets)):
        if values is not None and not bool(values.isfinite().all()):
            raise ValueError(f"{name} hold NaN or infinity: take out those prompts")
    if by is None:
        by = (examples.facts.get(PromptFacts) or PromptFacts(pairs=0)).group
    inputs = examples.inputs if examples.targets.is_floating_point() else None
    return Prompts(
        targets=at_scored(examples.targets, scored),
        scored=scored,
        inputs=None if inputs is None else at_scored(inputs, scored),
        by=by,
        groups=_groups(examples, by),
        facts=examples.facts,
    )


def predictions(snapshot: Snapshot, prompts: Prompts) -> Shaped[Tensor, "prompt pair"]:
    """What a model answers at the scored positions.

    If answers are chosen among tokens of the prompt (`PromptFacts.candidates` says how far before
    the answer these stand), the answer is the most likely of these tokens.
    """
    batches = torch.arange(len(snapshot.examples)).split(PROMPTS_PER_BATCH)
    return torch.cat([_answers(snapshot, prompts, rows) for rows in batches])


def late_score(snapshot: Snapshot) -> float:
    """How much of the last four answers of each prompt is right: a share of them, or of mean y².

    NaN where these answers are all 0.

    Raises:
        ValueError: The examples are no prompts.
    """
    prompts = prompts_of(snapshot.examples, "")
    wrong = prompts.errors(predictions(snapshot, prompts), 0)[:, -LATE_ANSWERS:]
    if not prompts.is_real:
        return 1 - float(wrong.mean())
    late = prompts.targets[:, -LATE_ANSWERS:].double().square().mean()
    return 1 - ratio(wrong.mean() * prompts.scale[0], late)


def most_frequent(answers: Int[Tensor, "prompt pair"]) -> Int[Tensor, "prompt pair"]:
    """The most frequent of each prompt's earlier answers, the smallest of equals; at first 0."""
    values, codes = torch.unique(answers, return_inverse=True)
    counts = torch.nn.functional.one_hot(codes).cumsum(1)[:, :-1]
    return torch.nn.functional.pad(values[counts.argmax(2)], (1, 0))


def at_scored(
    values: Shaped[Tensor, "prompt pos ..."], scored: Bool[Tensor, "prompt pos"]
) -> Shaped[Tensor, "prompt pair ..."]:
    """Values at the scored positions, of which every prompt has the same number."""
    return values[scored].unflatten(0, (len(scored), -1))


def _answers(
    snapshot: Snapshot, prompts: Prompts, rows: Int[Tensor, " row"]
) -> Shaped[Tensor, "row pair"]:
    """The answers to a batch of prompts: numbers, or the likeliest classes of the candidates."""
    if len(rows) < len(snapshot.examples):
        snapshot = snapshot.on(snapshot.examples.at(rows))
    examples, logits = snapshot.examples, at_scored(snapshot.logits().cpu(), prompts.scored[rows])
    if prompts.is_real:
        return logits[..., 0]
    facts = examples.facts.get(PromptFacts)
    if facts is None or not facts.candidates or examples.tokens is None:
        return logits.argmax(-1).float()
    answers = examples.scored.cpu().nonzero()[:, 1].unflatten(0, (len(logits), -1))
    places = answers[..., None] + torch.tensor(facts.candidates)
    classes = examples.tokens.cpu().gather(1, places.flatten(1)).unflatten(1, places.shape[1:])
    best = logits.gather(2, classes).argmax(-1, keepdim=True)
    return classes.gather(2, best)[..., 0].float()


def labels_of(by: str) -> list[str]:
    """Names of labels that are written with commas between them."""
    return [label.strip() for label in by.split(",")] if by else []


def _groups(examples: Examples, by: str) -> dict[str, Tensor]:
    """Rows by group, in the order of the labels' values."""
    if not by:
        mixture = examples.facts.get(MixtureFacts)
        trained = () if mixture is None else mixture.trained
        return {trained[0] if len(trained) == 1 else "all": torch.arange(len(examples))}
    labels, groups = labels_of(by), {}
    values = torch.stack([examples.label(label).double() for label in labels], dim=1)
    for row in values.unique(dim=0):
        name = ", ".join(map(partial(_named, examples.facts), labels, row.tolist()))
        groups[name] = (values == row).all(1).nonzero()[:, 0]
    return groups


def _named(facts: Facts, label: str, value: float) -> str:
    """A label's value in words."""
    prompts = facts.get(PromptFacts)
    names = () if prompts is None or label != prompts.asked else prompts.asked_names
    return str(names[int(value)]) if len(names) > int(value) >= 0 else f"{label} {value:.4g}"
