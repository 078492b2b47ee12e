"""Lists of words that a hidden rule chooses one from, drawn and spelled as tokens.

Words are of five categories and of three to six letters, all in a list of different categories and
lengths, so that every rule has exactly one answer. Ours; no data set is behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Generator, Tensor

# By category, words of three, four, five and six letters, two of each.
WORDS = {
    "animal": ("cat", "dog", "lion", "bear", "horse", "tiger", "rabbit", "monkey"),
    "colour": ("red", "tan", "blue", "pink", "green", "black", "yellow", "purple"),
    "food": ("pie", "egg", "rice", "cake", "bread", "pizza", "cheese", "butter"),
    "body": ("leg", "arm", "hand", "foot", "mouth", "heart", "finger", "tongue"),
    "home": ("bed", "cup", "door", "lamp", "chair", "table", "window", "carpet"),
}
CATEGORIES = tuple(WORDS)
EVERY = tuple(word for words in WORDS.values() for word in words)
LENGTHS, ALIKE = 4, 2  # different lengths; words of one category and length
RULES = ("position", "category", "length")


@dataclass(frozen=True)
class Spelling:
    """How words and signs are written as tokens.

    Attributes:
        words: A token a word, in the order of `EVERY`.
        arrow: Tokens between a list and its answer.
        end: Tokens after an answer.
        names: What each token stands for, by token, for people to read.
    """

    words: tuple[int, ...]
    arrow: tuple[int, ...]
    end: tuple[int, ...]
    names: dict[int, str]

    @property
    def candidates(self) -> tuple[int, ...]:
        """How far from the position that answers the words of its list stand."""
        return tuple(range(-LENGTHS - len(self.arrow) + 1, -len(self.arrow) + 1))

    def width(self, pairs: int) -> int:
        """Positions of a prompt up to the last arrow."""
        return pairs * (LENGTHS + len(self.arrow) + 1 + len(self.end)) - 1 - len(self.end)


# As a model of its own vocabulary reads them.
PLAIN = Spelling(
    tuple(range(len(EVERY))), (len(EVERY),), (len(EVERY) + 1,),
    dict(enumerate((*EVERY, "->", ";"))),
)  # fmt: skip


def rule_names(rules: Sequence[str]) -> tuple[str, ...]:
    """Each rule of some kinds by name: `position 1`, `category food`, `length longest`."""
    own = {
        "position": [f"position {place + 1}" for place in range(LENGTHS)],
        "category": [f"category {name}" for name in CATEGORIES],
        "length": ["length shortest", "length longest"],
    }
    return tuple(name for rule in rules for name in own[rule])


def drawn_lists(
    count: int, pairs: int, generator: Generator
) -> tuple[Int[Tensor, "prompt pair word"], Int[Tensor, "prompt pair word"]]:
    """Category and length of each word of lists: different ones in a list."""
    shape = (count, pairs)
    categories = torch.rand(*shape, len(CATEGORIES), generator=generator).argsort(2)[..., :LENGTHS]
    lengths = torch.rand(*shape, LENGTHS, generator=generator).argsort(2)
    return categories, lengths


def with_category(
    categories: Int[Tensor, "prompt pair word"], asked: Int[Tensor, " prompt"], generator: Generator
) -> Int[Tensor, "prompt pair word"]:
    """The same lists, the asked category in the place of a random word where it is missing.

    Args:
        categories: Of each word.
        asked: The category that each prompt asks for; negative where it asks for none.
        generator: Decides the places.
    """
    is_missing = (categories != asked[:, None, None]).all(2) & (asked >= 0)[:, None]
    place = torch.randint(LENGTHS, is_missing.shape, generator=generator)
    is_place = torch.arange(LENGTHS) == place[..., None]
    return torch.where(is_missing[..., None] & is_place, asked[:, None, None], categories)


def chosen(
    rules: Sequence[str],
    rule: Int[Tensor, " prompt"],
    lists: tuple[Int[Tensor, "prompt pair word"], Int[Tensor, "prompt pair word"]],
) -> Int[Tensor, "prompt pair"]:
    """The place in each list of the word that its prompt's rule chooses.

    Args:
        rules: Names, as `rule_names` has them.
        rule: Number of each prompt's rule.
        lists: Category and length of each word.
    """
    categories, lengths = lists
    places = []
    for name in rules:
        kind, _, value = name.partition(" ")
        if kind == "position":
            places.append(torch.full(lengths.shape[:2], int(value) - 1))
        elif kind == "category":
            places.append((categories == CATEGORIES.index(value)).long().argmax(2))
        else:
            places.append(lengths.argmax(2) if value == "longest" else lengths.argmin(2))
    return torch.stack(places)[rule, torch.arange(len(rule))]
