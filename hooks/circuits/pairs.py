"""Pairs of a clean and a corrupted input, and how far a model tells their answers apart.

What a patch does is judged by a metric of each pair, higher where the clean input's answer is
preferred:

    effect = m(patched) - m(unpatched)      recovered = (m(patched) - m(c)) / (m(x) - m(c))

x is the clean input and c the corrupted one. Inserting activations of c into a run of x (noising)
has a negative effect where the replaced part helps; inserting those of x into c (denoising) a
positive one. The denominator is the span.

Source: Zhang and Nanda 2023 (arXiv:2309.16042); Heimersheim and Nanda 2024 (arXiv:2404.15255).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.examples import Examples, drawn_rows
from hooks.messages import did_you_mean

METRICS = ("logit_difference", "log_probability", "probability", "kl", "squared_error", "accuracy")
MIN_SPAN = 3  # standard errors that a span must reach to be divided by


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Clean inputs, each with a corrupted one, made together so that rows cannot come apart.

    Attributes:
        clean: Inputs whose answer is known.
        corrupted: Inputs of the same shape; row i belongs to row i of `clean`.
        position: The position at which each answer is read.
        right: The class that is right for the clean input; None where answers are real numbers.
        wrong: Another class: that of the corrupted input, or in control pairs one drawn at random.
        change: What was changed, in a word.
        control: Whether the right answer is the same for both, so that patching should do little.
        roles: Positions by what stands there (`quest`, `=`), one for each pair, in reading order:
            the columns of a grid of layers and positions.
    """

    clean: Examples
    corrupted: Examples
    position: Int[Tensor, " _"]  # one a pair, which is checked below, as of the next two
    right: Int[Tensor, " _"] | None = None
    wrong: Int[Tensor, " _"] | None = None
    change: str = ""
    control: bool = False
    roles: Mapping[str, Int[Tensor, " _"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clean, corrupted = self.clean, self.corrupted
        if clean.model_inputs.shape != corrupted.model_inputs.shape:
            raise ValueError(
                f"clean inputs are {list(clean.model_inputs.shape)}, corrupted ones "
                f"{list(corrupted.model_inputs.shape)}: pairs have one shape"
            )
        lengths = [
            torch.full((len(self),), each.model_inputs.shape[1])
            if each.lengths is None
            else each.lengths
            for each in (clean, corrupted)
        ]
        differs = (lengths[0] != lengths[1]).nonzero()
        if len(differs):
            row = int(differs[0])
            raise ValueError(
                f"pair {row}: {int(lengths[0][row])} and {int(lengths[1][row])} positions; the two "
                "inputs of a pair must be equally long"
            )
        self._check_answers()
        n_pos = clean.model_inputs.shape[1]
        for name, places in self.roles.items():
            if places.shape != (len(self),) or bool(((places < 0) | (places >= n_pos)).any()):
                raise ValueError(f"role '{name}': give each pair one position below {n_pos}")

    def _check_answers(self) -> None:
        if self.position.shape != (len(self),):
            raise ValueError(f"position is {list(self.position.shape)}: give one for each pair")
        n_pos, n_answers = self.clean.model_inputs.shape[1], self.clean.scored.shape[1]
        answer = self.position - (n_pos - n_answers)
        outside = (answer < 0) | (answer >= n_answers)
        rows = torch.arange(len(self))
        unscored = outside | ~self.clean.scored[rows, answer.clamp(0, n_answers - 1)]
        if unscored.any():
            row = int(unscored.nonzero()[0])
            raise ValueError(
                f"pair {row}: position {int(self.position[row])} is not scored: read the answer at "
                "one that is"
            )
        if (self.right is None) != (self.wrong is None):
            raise ValueError("give right and wrong, or neither, where answers are real numbers")
        for name, classes in {"right": self.right, "wrong": self.wrong}.items():
            if classes is not None and classes.shape != (len(self),):
                raise ValueError(f"{name} is {list(classes.shape)}: give one class for each pair")
        same = None if self.right is None else (self.right == self.wrong).nonzero()
        if same is not None and len(same):
            raise ValueError(f"pair {int(same[0])}: right and wrong are the same class: draw again")

    def __len__(self) -> int:
        return len(self.clean)

    def __repr__(self) -> str:
        control = ", control" if self.control else ""
        return f"Pairs({len(self)}, change '{self.change}'{control})"

    @classmethod
    def of(
        cls, clean: Examples, corrupted: Examples, *, change: str = "own", control: bool = False
    ) -> "Pairs":
        """Pairs of a user's own, whose answer is that of the last scored position.

        `wrong` is the corrupted inputs' answer; of control pairs, whose answers are the same, it is
        a neighbouring class.

        Raises:
            ValueError: As `Pairs`.
        """
        if len(clean) != len(corrupted):
            raise ValueError(
                f"{len(clean)} clean and {len(corrupted)} corrupted examples: pair them"
            )
        answer, rows = clean.last_scored, torch.arange(len(clean))
        position = answer + clean.model_inputs.shape[1] - clean.scored.shape[1]
        right, wrong = (each.targets[rows, answer] for each in (clean, corrupted))
        if right.is_floating_point():
            return cls(clean, corrupted, position, change=change, control=control)
        if control:
            wrong = torch.where(right == 0, 1, right - 1)
        return cls(clean, corrupted, position, right, wrong, change, control)

    @property
    def classes(self) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]:
        """The right and the wrong class of each pair.

        Raises:
            ValueError: Answers are real numbers.
        """
        if self.right is None or self.wrong is None:
            raise ValueError("answers here are real numbers: there are no classes")
        return self.right, self.wrong

    def at(self, rows: Int[Tensor, " row"]) -> "Pairs":
        """Some pairs, in this order."""
        return replace(
            self,
            clean=self.clean.at(rows),
            corrupted=self.corrupted.at(rows),
            position=self.position[rows],
            right=None if self.right is None else self.right[rows],
            wrong=None if self.wrong is None else self.wrong[rows],
            roles={name: places[rows] for name, places in self.roles.items()},
        )

    def drawn(self, count: int | None, seed: int) -> "Pairs":
        """At most `count` pairs, drawn at random, in their present order; all where it is None."""
        if count is None or count >= len(self):
            return self
        return self.at(drawn_rows(len(self), count, seed))

    @property
    def default_metric(self) -> str:
        """logit_difference, or squared_error where answers are real numbers."""
        return "squared_error" if self.right is None else "logit_difference"

    @property
    def swapped(self) -> "Pairs":
        """The same pairs with the inputs exchanged; right stays the clean input's answer."""
        return replace(self, clean=self.corrupted, corrupted=self.clean)

    def answers(
        self, logits: Float[Tensor, "pair answer d_vocab_out"]
    ) -> Float[Tensor, "pair d_vocab_out"]:
        """The logits at the position where each answer is read, in float64.

        Args:
            logits: Of all positions, or of the last ones only.
        """
        answer = self.position - (self.clean.model_inputs.shape[1] - logits.shape[1])
        return logits[torch.arange(len(self)), answer.to(logits.device)].double()

    def values(
        self,
        metric: str,
        logits: Float[Tensor, "pair d_vocab_out"],
        clean: Float[Tensor, "pair d_vocab_out"] | None = None,
    ) -> Float[Tensor, " pair"]:
        """A metric of each pair, higher where the clean input's answer is preferred.

        - logit_difference: the right class's logit minus the wrong one's.
        - log_probability, probability: of the right class; minus the former is the loss, in nats.
        - kl: minus the divergence of the prediction from the clean one, KL(clean || it), in nats.
        - squared_error: minus that of a real-valued answer.
        - accuracy: 1 where the right class has the largest logit.

        Args:
            metric: Which.
            logits: At the position of the answer (`answers`).
            clean: The same of the unpatched run on the clean input; for kl.

        Raises:
            ValueError: There is no such metric, or it does not fit the answers.
        """
        if metric not in METRICS:
            near = did_you_mean(metric, METRICS)
            raise ValueError(f"no metric '{metric}'; there are {', '.join(METRICS)}{near}")
        if (self.right is None) != (metric == "squared_error"):
            kind = "classes" if self.right is not None else "real numbers"
            raise ValueError(f"metric {metric}: answers here are {kind}; take another")
        if metric == "squared_error":
            offset = self.clean.model_inputs.shape[1] - self.clean.targets.shape[1]
            targets = self.clean.targets[torch.arange(len(self)), self.position - offset]
            return -(logits[:, 0] - targets.to(logits)).square()
        right, wrong = (classes.to(logits.device)[:, None] for classes in self.classes)
        if metric == "logit_difference":
            return (logits.gather(1, right) - logits.gather(1, wrong))[:, 0]
        if metric == "accuracy":
            return (logits.argmax(1) == right[:, 0]).to(logits.dtype)
        log_probabilities = logits.log_softmax(1)
        if metric == "kl":
            if clean is None:
                raise ValueError("metric kl compares with the clean run: give its logits")
            wanted = clean.log_softmax(1)
            return -(wanted.exp() * (wanted - log_probabilities)).sum(1)
        chosen = log_probabilities.gather(1, right)[:, 0]
        return chosen if metric == "log_probability" else chosen.exp()


def standard_error(values: Float[Tensor, "*axis pair"]) -> Float[Tensor, "*axis"]:
    """Of the mean over pairs; NaN of a single one."""
    if values.shape[-1] < 2:
        return torch.full_like(values[..., 0], torch.nan)
    return values.std(-1) / math.sqrt(values.shape[-1])


def recovered(
    patched: Float[Tensor, "*axis pair"],
    clean: Float[Tensor, " pair"],
    corrupted: Float[Tensor, " pair"],
) -> Float[Tensor, "*axis"]:
    """Share of the span that patched runs cover, a ratio of means; 0 as corrupted, 1 as clean.

    NaN where the span is under three of its standard errors, paired over examples: there is then
    nothing to be recovered. The mean of ratios would divide by spans of single pairs that are 0.
    """
    span = clean - corrupted
    if not has_span(clean, corrupted):
        return torch.full(patched.shape[:-1], torch.nan, dtype=patched.dtype)
    return (patched - corrupted).mean(-1) / span.mean()


def has_span(clean: Float[Tensor, " pair"], corrupted: Float[Tensor, " pair"]) -> bool:
    """Whether the span is at least three of its standard errors, paired over examples."""
    span = clean - corrupted
    return bool(span.mean().abs() >= MIN_SPAN * standard_error(span)) and bool(span.mean() != 0)
