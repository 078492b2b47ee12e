"""The truth about a task that analyses need: facts that hold for all of its examples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

F = TypeVar("F")


@dataclass(frozen=True)
class ModularFacts:
    """What is true of arithmetic modulo p.

    Attributes:
        p: The modulus, 2 or more; operands and answers are residues 0 to p - 1.
        operation: add, subtract, multiply or sum_of_squares.
        wave: The wave that computes the answer, in words; empty if the operation is no group,
            so that none does.
        ordered_pairs: Whether the task has all p² pairs (a, b), rather than those with a <= b.
    """

    p: int
    operation: str
    wave: str = ""
    ordered_pairs: bool = False


@dataclass(frozen=True)
class InputFacts:
    """What the inputs of a network are, if they mean the same in all examples.

    Attributes:
        names: A name for each input number, or for each token.
        relevant: For each input, whether the answer depends on it; empty if that is not known.
        bias_input: The place of an input that is constant; None if there is none.
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
        asked: The label that says which of several questions a prompt asks; empty if all ask
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
        law: How those coefficients are drawn: normal, or sign (1 and -1, equally likely).
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
        prior: The classes of functions and the laws of their coefficients; empty if these are
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
        return tuple(
            name for name, share in zip(self.classes, self.shares, strict=True) if share > 0
        )


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
    """What analyses can learn from a task about all of its examples.

    `facts(PromptFacts)` gives the facts of one kind. A task may bring a frozen dataclass of its
    own, which analyses then ask for in the same way.

    Attributes:
        chance: The best accuracy without looking, or of prompts without examples, in [0, 1]; NaN
            where it is not known, or answers are no classes.
        outputs: How many of a model's outputs answer, the first ones; None for all of them.
        vocabulary: What each token id stands for; empty if ids are their own names.
        groups: The facts of other kinds, one of a kind at most.
    """

    chance: float = math.nan
    outputs: int | None = None
    vocabulary: tuple[str, ...] = ()
    groups: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.chance < 0 or self.chance > 1:
            raise ValueError(f"chance {self.chance}: give a share of answers, 0 to 1")
        if len({type(group) for group in self.groups}) < len(self.groups):
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
