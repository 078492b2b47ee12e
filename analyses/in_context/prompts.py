"""Prompts as baselines see them: inputs, answers, groups; and how far predictions are from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from analyses.in_context.baseline_names import baseline, is_repeated, is_slow
from analyses.statistics import ratio
from hooks import Examples, Facts, MixtureFacts, PromptFacts, Snapshot

FEW = 50  # prompts that slow baselines are fitted to, of all groups together
LATE = 4  # answers at a prompt's end
AT_A_TIME = 256  # prompts whose logits are held


@dataclass(frozen=True, eq=False)
class Pairs:
    """Prompts, an answer a column.

    Attributes:
        targets: The right answers.
        scored: Where they stand among the positions.
        inputs: What each is an answer to; None where that is not real numbers, or answers are
            classes.
        by: The labels that groups are told apart by, with commas; empty where there is one group.
        groups: Rows by name.
        facts: What the task tells of all its prompts.
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
        """Numbers of an input; 0 where there are none."""
        return 0 if self.inputs is None else self.inputs.shape[2]

    @property
    def unit(self) -> str:
        """What errors are."""
        return "squared error / mean y²" if self.is_real else "share of wrong answers"

    @property
    def counts(self) -> Int[np.ndarray, " group"]:
        """Prompts of each group."""
        return np.array([len(rows) for rows in self.groups.values()])

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

        Those are the first of each group, as many of one as of another, and one at least.
        """
        if not is_slow(name):
            return torch.ones(len(self.targets), dtype=torch.bool)
        found = torch.zeros(len(self.targets), dtype=torch.bool)
        share = max(1, FEW // len(self.groups))
        found[torch.cat([rows[:share] for rows in self.groups.values()])] = True
        return found

    def errors(
        self, predicted: Shaped[Tensor, "prompt pair"], group: int, name: str = ""
    ) -> Float[Tensor, "row pair"]:
        """Normalised errors on a group's prompts, those of them that a curve is predicted for."""
        rows = list(self.groups.values())[group]
        rows = rows[self.given(name)[rows]]
        own = self.targets[rows]
        if not self.is_real:
            return (predicted[rows] != own).double()
        return (predicted[rows] - own).double().square() / self.scale[group]

    def baselines(self, names: Sequence[str]) -> dict[str, Shaped[Tensor, "prompt pair"]]:
        """Predictions of baselines by name; NaN where a slow one is not given a prompt.

        Where answers are classes it is the most frequent one so far, whatever the names. A joint
        ridge that would be a ridge of the same penalty is passed over.

        Raises:
            ValueError: A name is unknown, or its number no number.
        """
        chosen = {name: baseline(name, self.facts, self.d) for name in names}
        if not self.is_real:
            return {"most_frequent": most_frequent(self.targets)}
        if self.inputs is None:
            return {}
        x, y = self.inputs.double(), self.targets.double()
        predicted = {}
        for name, predict in chosen.items():
            if predict is None or is_repeated(name, names, self.facts):
                continue
            given = self.given(name)
            predicted[name] = torch.full_like(y, torch.nan)
            predicted[name][given] = predict(x[given], y[given])
        return predicted


def pairs_of(examples: Examples, by: str | None) -> Pairs:
    """Examples as prompts.

    Args:
        examples: Each scored as often as the others.
        by: The label to group by, or several with commas between them; those that the task names
            (`PromptFacts.group`) where left out.

    Raises:
        ValueError: Prompts are scored at different numbers of positions, hold NaN or infinity, or
            have no such label.
    """
    scored = examples.scored
    counts = scored.sum(1)
    if not len(counts) or int(counts.min()) != int(counts.max()) or int(counts.max()) < 2:
        raise ValueError(
            "InContextCurve needs prompts that are all scored at the same number of positions, "
            "two at least"
        )
    for name, values in (("inputs", examples.inputs), ("targets", examples.targets)):
        if values is not None and not bool(values.isfinite().all()):
            raise ValueError(f"{name} hold NaN or infinity: take out those prompts")
    inputs, is_real = examples.inputs, examples.targets.is_floating_point()
    if by is None:
        prompts = examples.facts.get(PromptFacts)
        by = "" if prompts is None else prompts.group
    return Pairs(
        targets=at_scored(examples.targets, scored),
        scored=scored,
        inputs=None if inputs is None or not is_real else at_scored(inputs, scored),
        by=by,
        groups=_groups(examples, by),
        facts=examples.facts,
    )


def predictions(snapshot: Snapshot, pairs: Pairs) -> Shaped[Tensor, "prompt pair"]:
    """What a model answers at the scored positions.

    Where `PromptFacts.candidates` says how far before an answer the tokens stand that it is chosen
    among, the most likely of these counts.
    """
    examples = snapshot.examples
    parts = []
    for rows in torch.arange(len(examples)).split(AT_A_TIME):
        some = snapshot if len(rows) == len(examples) else snapshot.on(examples.at(rows))
        logits = at_scored(some.logits().cpu(), pairs.scored[rows])
        parts.append(_answers(logits, some.examples, pairs.is_real))
    return torch.cat(parts)


def late_score(snapshot: Snapshot) -> float:
    """How much of the last four answers of each prompt is right: a share of them, or of mean y².

    NaN where these answers are all 0.

    Raises:
        ValueError: The examples are no prompts.
    """
    pairs = pairs_of(snapshot.examples, "")
    wrong = pairs.errors(predictions(snapshot, pairs), 0)[:, -LATE:]
    if not pairs.is_real:
        return 1 - float(wrong.mean())
    late = pairs.targets[:, -LATE:].double().square().mean()
    return 1 - ratio(wrong.mean() * pairs.scale[0], late)


def most_frequent(answers: Int[Tensor, "prompt pair"]) -> Int[Tensor, "prompt pair"]:
    """The most frequent of each prompt's earlier answers, the smallest of those; at first 0."""
    values, codes = torch.unique(answers, return_inverse=True)
    counts = torch.nn.functional.one_hot(codes).cumsum(1)[:, :-1]
    return torch.nn.functional.pad(values[counts.argmax(2)], (1, 0))


def at_scored(
    values: Shaped[Tensor, "prompt pos ..."], scored: Bool[Tensor, "prompt pos"]
) -> Shaped[Tensor, "prompt pair ..."]:
    """Values at the scored positions, of which every prompt has as many."""
    return values[scored].unflatten(0, (len(scored), -1))


def _answers(
    logits: Float[Tensor, "prompt pair d_vocab_out"], examples: Examples, is_real: bool
) -> Shaped[Tensor, "prompt pair"]:
    """Numbers, or the likeliest classes of those there are to choose among."""
    if is_real:
        return logits[..., 0]
    prompts = examples.facts.get(PromptFacts)
    if prompts is None or not prompts.candidates or examples.tokens is None:
        return logits.argmax(-1).float()
    places = examples.scored.cpu().nonzero()[:, 1].unflatten(0, (len(logits), -1))
    asked = places[..., None] + torch.tensor(prompts.candidates)
    known = examples.tokens.cpu().gather(1, asked.flatten(1)).unflatten(1, asked.shape[1:])
    best = logits.gather(2, known).argmax(-1, keepdim=True)
    return known.gather(2, best)[..., 0].float()


def labels_of(by: str) -> list[str]:
    """Labels that stand with commas between them."""
    return [each.strip() for each in by.split(",")] if by else []


def _groups(examples: Examples, by: str) -> dict[str, Tensor]:
    """Rows by group, in the order of the labels' values."""
    if not by:
        mixture = examples.facts.get(MixtureFacts)
        trained = () if mixture is None else mixture.trained
        return {trained[0] if len(trained) == 1 else "all": torch.arange(len(examples))}
    labels = labels_of(by)
    values = torch.stack([examples.label(each).double() for each in labels], dim=1)
    return {
        ", ".join(_named(*each, examples.facts) for each in zip(labels, row.tolist(), strict=True)):
        (values == row).all(1).nonzero()[:, 0]
        for row in values.unique(dim=0)
    }  # fmt: skip


def _named(label: str, value: float, facts: Facts) -> str:
    """A label's value in words."""
    prompts = facts.get(PromptFacts)
    names = () if prompts is None or label != prompts.asked else prompts.asked_names
    return str(names[int(value)]) if len(names) > int(value) >= 0 else f"{label} {value:.4g}"
