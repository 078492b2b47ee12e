"""What a model is run on, and the truth about it: examples, and the facts that hold for all."""

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from hooks.messages import did_you_mean

LATE_ANSWERS = 4  # answers at a prompt's end, where the most examples have been seen

Tree = Any  # a leaf, mostly a position, or a tuple of trees
F = TypeVar("F")


@dataclass(frozen=True)
class ModularFacts:
    """What is true of arithmetic modulo p.

    Attributes:
        p: The modulus, 2 or more; operands and answers are residues 0 to p - 1.
        operation: add, subtract, multiply or sum_of_squares.
        wave: The wave that computes the answer, in words; empty where the operation is no group,
            so that none does.
        ordered_pairs: Whether the task has all p² pairs (a, b), rather than those with a <= b.
    """

    p: int
    operation: str
    wave: str = ""
    ordered_pairs: bool = False


@dataclass(frozen=True)
class InputFacts:
    """What the inputs of a network are, where all of them are alike.

    Attributes:
        names: A name for each input number, or for each token.
        relevant: For each input, whether the answer depends on it; empty where that is not known.
        bias_input: The place of an input that is constant; None where there is none.
    """

    names: tuple[str, ...]
    relevant: tuple[bool, ...] = ()
    bias_input: int | None = None

    def __post_init__(self) -> None:
        if self.relevant and len(self.relevant) != len(self.names):
            raise ValueError(f"relevant: give one for each of {len(self.names)} inputs")


@dataclass(frozen=True)
class PromptFacts:
    """What is true of prompts that answer several queries, one after the other.

    Attributes:
        pairs: Answers of a prompt: the last one follows pairs - 1 examples.
        asked: The label that says which of several questions a prompt asks; empty where all ask
            the same.
        asked_names: What the values 0, 1, .. of that label are called.
        group: The labels by which prompts are grouped, with commas between them; empty where
            there is one group.
        candidates: How many positions before an answer the tokens stand that it is chosen among;
            empty where it is chosen among all.
        factors: The labels of a prompt's last query that its representation is probed for.
    """

    pairs: int
    asked: str = ""
    asked_names: tuple[str, ...] = ()
    group: str = ""
    candidates: tuple[int, ...] = ()
    factors: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinearPrior:
    """A class of linear functions with random coefficients, some of which may be 0.

    Attributes:
        nnz: How many coefficients are not 0; every choice of them is equally likely.
        law: Of those coefficients: normal, or sign (1 and -1, equally likely).
        scale: What coefficients are multiplied by: the standard deviation of normal ones.
        active: Coefficients are those of the first `active` inputs; None for all inputs.
        weight: Share of the class in the mixture.
    """

    nnz: int
    law: Literal["normal", "sign"] = "normal"
    scale: float = 1.0
    active: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class WavePrior:
    """A class of waves of one input, with normal coefficients of sine and cosine.

    Attributes:
        frequency: In radians a unit of the input.
        scale: Standard deviation of the coefficients.
        weight: Share of the class in the mixture.
    """

    frequency: float
    scale: float = 1.0
    weight: float = 1.0


Prior = LinearPrior | WavePrior


@dataclass(frozen=True)
class FunctionFacts:
    """What is true of the functions that real-valued prompts give examples of.

    Attributes:
        d: Numbers of an input.
        noise: Standard deviation of what is added to every answer.
        prior: The classes of functions and the laws of their coefficients; empty where these are
            not exactly known.
        has_linear_features: Whether the inputs are among the features in which every class is
            linear.
        wave_features: The frequencies whose sine and cosine are among those features. Where
            neither these nor the inputs are, no such features are known.
    """

    d: int
    noise: float = 0.0
    prior: tuple[Prior, ...] = ()
    has_linear_features: bool = False
    wave_features: tuple[float, ...] = ()

    @property
    def has_features(self) -> bool:
        """Whether features are known in which every class is linear."""
        return self.has_linear_features or bool(self.wave_features)


@dataclass(frozen=True)
class MixtureFacts:
    """What is true of a mixture of function classes.

    Attributes:
        classes: Names of the classes.
        shares: Each class' share of the training prompts; they sum to 1.
        splits: Splits of the task.
        inside: For each split from outside the mixture, the numbers at which its functions are
            of a class that is trained on after all.
    """

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    splits: tuple[str, ...]
    inside: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.classes):
            raise ValueError(f"shares: give one for each of {len(self.classes)} classes")

    @property
    def trained(self) -> tuple[str, ...]:
        """The classes that are trained on."""
        named = zip(self.classes, self.shares, strict=True)
        return tuple(name for name, share in named if share > 0)


@dataclass(frozen=True)
class SentenceFacts:
    """What the labels of sentences stand for.

    Attributes:
        subjects: Kinds of subjects, which the label `subject` counts from 0.
        predicates: Kinds of predicates, which the label `predicate` counts from 0.
    """

    subjects: tuple[str, ...]
    predicates: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What a task tells analyses about all of its examples.

    `facts(PromptFacts)` gives the facts of one kind. A task may bring a frozen dataclass of its
    own, which analyses then ask for in the same way.

    Attributes:
        chance: The best accuracy without looking, or of prompts without examples, in [0, 1]; NaN
            where it is not known, or answers are no classes.
        outputs: How many of a model's outputs answer, the first ones; None for all of them.
        vocabulary: What each token id stands for; empty where ids are their own names.
        groups: The facts of other kinds, one of a kind at most.
    """

    chance: float = math.nan
    outputs: int | None = None
    vocabulary: tuple[str, ...] = ()
    groups: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.chance < 0 or self.chance > 1:
            raise ValueError(f"chance {self.chance}: give a share of answers, 0 to 1")
        kinds = [type(group) for group in self.groups]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"groups: give one of each kind, not {self.kinds}")

    @property
    def kinds(self) -> str:
        """Names of the kinds of facts there are, or none."""
        return ", ".join(type(group).__name__ for group in self.groups) or "none"

    def get(self, kind: type[F]) -> F | None:
        """The facts of a kind, or None."""
        return next((group for group in self.groups if type(group) is kind), None)

    def __call__(self, kind: type[F]) -> F:
        """The facts of a kind.

        Raises:
            ValueError: The task provides none; the message lists those it does.
        """
        group = self.get(kind)
        if group is None:
            raise ValueError(f"facts has no {kind.__name__}; this task provides: {self.kinds}")
        return group


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Examples to look at a model with, and everything true of them.

    Made by a task, so that the truth travels with the data. One of `tokens` and `inputs` is
    given. What contradicts itself is refused when they are made: lengths beyond the positions,
    answers scored in the padding, labels of other counts, trees that skip a position. Padding
    stands on the right; on the left it is not offered, since positions are counted from 0.

    Attributes:
        targets: The right answer at each scored position; 0 elsewhere. Of all positions, or of
            the last ones that a model answers at.
        scored: True where the model's answer counts.
        tokens: Token ids, padded on the right.
        inputs: Real-valued inputs instead of tokens.
        lengths: Number of real positions of each example; all of them where left out.
        labels: By name, one value an example or one a position (`a`, `depth`, `train`).
        trees: Gold parses: nested tuples of token positions, which follow on one another.
        facts: What the task tells of all its examples, such as chance or the modulus.
        words: Each example's positions for people to read.
    """

    targets: Shaped[Tensor, "batch answer"]
    scored: Bool[Tensor, "batch answer"]
    tokens: Int[Tensor, "batch pos"] | None = None
    inputs: Float[Tensor, "batch pos d_in"] | None = None
    lengths: Int[Tensor, " batch"] | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    trees: tuple[Tree, ...] | None = None
    facts: Facts = Facts()
    words: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.inputs is None):
            raise ValueError("Examples take tokens or inputs: give one of the two")
        self._check_counts()
        self._check_numbers()
        self._check_lengths()
        for row, tree in enumerate(self.trees or ()):
            _check_tree(tree, row, self._length(row))

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        what = "inputs" if self.tokens is None else "tokens"
        labels = f", labels {', '.join(sorted(self.labels))}" if self.labels else ""
        return f"Examples({len(self)} of {self.model_inputs.shape[1]} {what}{labels})"

    @property
    def model_inputs(self) -> Tensor:
        """Tokens or inputs, whichever the model is fed."""
        return self.inputs if self.tokens is None else self.tokens  # pyright: ignore[reportReturnType]  # __post_init__

    @property
    def visible(self) -> Bool[Tensor, "batch pos"]:
        """True at real positions, False at padding."""
        n_pos = self.model_inputs.shape[1]
        if self.lengths is None:
            return self.scored.new_ones(len(self), n_pos)
        return torch.arange(n_pos, device=self.lengths.device) < self.lengths[:, None]

    def label(self, name: str) -> Tensor:
        """One label by name.

        Raises:
            ValueError: The task provides no such label; the message lists those it does.
        """
        if name not in self.labels:
            known = ", ".join(sorted(self.labels)) or "none"
            near = did_you_mean(name, self.labels)
            raise ValueError(f"labels has no '{name}'; this task provides: {known}{near}")
        return self.labels[name]

    def answered(self, n_answers: int) -> "Examples":
        """The same examples for a model that answers at its last `n_answers` positions only.

        Raises:
            ValueError: An earlier position is scored.
        """
        if bool(self.scored[:, :-n_answers].any()):
            raise ValueError(
                f"this model answers at the last {n_answers} positions, these examples are scored "
                "at earlier ones: take a model of kind token"
            )
        return replace(
            self, targets=self.targets[:, -n_answers:], scored=self.scored[:, -n_answers:]
        )

    def check_sizes(self, d_vocab: int | None, d_vocab_out: int | None) -> None:
        """Refuses tokens and targets that a model of these sizes does not have.

        Args:
            d_vocab: Tokens it reads; None where it reads none, or does not say.
            d_vocab_out: Classes it answers with.

        Raises:
            ValueError: A token or a scored target is beyond the last.
        """
        if self.tokens is not None and d_vocab is not None:
            _check_ids("tokens", self.tokens, d_vocab)
        outputs = d_vocab_out if self.facts.outputs is None else self.facts.outputs
        if not self.targets.is_floating_point() and outputs is not None:
            _check_ids("targets", self.targets[self.scored], outputs)

    def head(self, count: int) -> "Examples":
        """The first `count` examples."""
        return self.at(torch.arange(min(count, len(self))))

    def drawn(self, count: int, seed: int) -> "Examples":
        """At most `count` examples, drawn at random with equal chances, in their present order."""
        if count >= len(self):
            return self
        shuffled = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.at(shuffled[:count].sort().values)

    def at(self, rows: Int[Tensor, " row"]) -> "Examples":
        """The examples of these numbers, in this order."""
        chosen = copy(self)  # parts of what was checked need no check
        for name in ("targets", "scored", "tokens", "inputs", "lengths"):
            values = getattr(self, name)
            object.__setattr__(chosen, name, None if values is None else values[rows])
        labels = {name: values[rows] for name, values in self.labels.items()}
        object.__setattr__(chosen, "labels", labels)
        for name in ("trees", "words"):
            values = getattr(self, name)
            of_rows = None if values is None else tuple(values[row] for row in rows.tolist())
            object.__setattr__(chosen, name, of_rows)
        return chosen

    def _length(self, row: int) -> int:
        return self.model_inputs.shape[1] if self.lengths is None else int(self.lengths[row])

    def _check_counts(self) -> None:
        """Refuses parts that are not of the same examples and positions."""
        count, n_pos = self.model_inputs.shape[:2]
        if self.scored.shape != self.targets.shape[:2] or self.targets.ndim != 2:
            raise ValueError(
                f"scored is {list(self.scored.shape)} and targets {list(self.targets.shape)}: give "
                "both as [example, answer]"
            )
        if self.scored.dtype != torch.bool:
            raise ValueError(f"scored holds {self.scored.dtype}: give True where an answer counts")
        if self.targets.shape[1] > n_pos:
            raise ValueError(
                f"targets and scored have {self.targets.shape[1]} positions, the examples {n_pos}"
            )
        others = {"targets": self.targets, "lengths": self.lengths}
        others |= {"trees": self.trees or None, "words": self.words}
        others |= {f"labels {name!r}": values for name, values in self.labels.items()}
        for name, values in others.items():
            if values is not None and len(values) != count:
                raise ValueError(f"{name} has {len(values)} entries, there are {count} examples")

    def _check_numbers(self) -> None:
        """Refuses ids below 0, and inputs and targets that are NaN or infinite."""
        if self.tokens is not None:
            _check_ids("tokens", self.tokens, None)
        elif not self.model_inputs.isfinite().all():
            raise ValueError("inputs hold NaN or infinity: leave such examples out")
        answers = self.targets[self.scored]
        if not answers.is_floating_point():
            _check_ids("targets", answers, None)
        elif not answers.isfinite().all():
            raise ValueError("targets hold NaN or infinity where scored")
        if not len(answers) and bool((self.targets != 0).any()):
            raise ValueError(
                "targets hold answers and scored is False everywhere, so that none of them "
                "counts: mark them in scored, or give targets of 0"
            )

    def _check_lengths(self) -> None:
        """Refuses lengths that the positions do not allow, and answers in the padding."""
        if self.lengths is None:
            return
        n_pos = self.model_inputs.shape[1]
        wrong = (self.lengths < 1) | (self.lengths > n_pos)
        if bool(wrong.any()):
            row = int(wrong.int().argmax())
            raise ValueError(
                f"lengths[{row}] is {int(self.lengths[row])}: give 1 to {n_pos}, the positions"
            )
        beyond = (self.scored & ~self.visible[:, -self.scored.shape[1] :]).any(1)
        if bool(beyond.any()):
            row = int(beyond.int().argmax())
            raise ValueError(
                f"example {row} has {int(self.lengths[row])} real positions (lengths) and is "
                "scored after them: positions are padded on the right here; move padding that is "
                "on the left behind the real positions"
            )


def _check_ids(name: str, ids: Tensor, count: int | None) -> None:
    """Refuses ids that are no whole numbers from 0 up, or not below a count."""
    if ids.is_floating_point():
        raise ValueError(f"{name} hold {ids.dtype}: give whole numbers")
    if not ids.numel():
        return
    low, high = (int(end) for end in ids.long().aminmax())
    if low < 0 or (count is not None and high >= count):
        wanted = "0 and up" if count is None else f"0 to {count - 1}, as the model has"
        raise ValueError(f"{name} hold {low if low < 0 else high}: ids are {wanted}")


def _check_tree(tree: Tree, row: int, length: int) -> None:
    """Refuses a tree that does not span its sentence: one position after the other."""
    leaves, left = [], [tree]
    while left:
        node = left.pop()
        if isinstance(node, tuple | list):
            left.extend(reversed(node))
        else:
            leaves.append(node)
    first = leaves[0] if leaves else None
    if not isinstance(first, int) or leaves != list(range(first, first + len(leaves))):
        raise ValueError(
            f"trees[{row}] has the leaves {leaves[:8]}: a tree spans its sentence, each leaf the "
            "position after the one before"
        )
    if first < 0 or leaves[-1] >= length:
        raise ValueError(
            f"trees[{row}] spans the positions {first} to {leaves[-1]}, the example has {length}"
        )
