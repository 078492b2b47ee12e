"""Lists of words from which a hidden rule chooses one: how they are drawn and written as tokens.

Words belong to five categories and have three to six letters. The words of a list have different
categories and different lengths, so that every rule has exactly one answer. Ours; no data set is
behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Generator, Tensor

# For each category: words of three, four, five and six letters, two of each length.
WORDS = {
    "animal": ("cat", "dog", "lion", "bear", "horse", "tiger", "rabbit", "monkey"),
    "colour": ("red", "tan", "blue", "pink", "green", "black", "yellow", "purple"),
    "food": ("pie", "egg", "rice", "cake", "bread", "pizza", "cheese", "butter"),
    "body": ("leg", "arm", "hand", "foot", "mouth", "heart", "finger", "tongue"),
    "home": ("bed", "cup", "door", "lamp", "chair", "table", "window", "carpet"),
}
CATEGORIES = tuple(WORDS)
ALL_WORDS = tuple(word for words in WORDS.values() for word in words)
LENGTHS = 4  # different lengths of words, and so the number of words in a list
WORDS_ALIKE = 2  # words of the same category and length
RULES = ("position", "category", "length")


@dataclass(frozen=True)
class Spelling:
    """How words and signs are written as tokens.

    Attributes:
        words: The token of each word, in the order of `ALL_WORDS`.
        arrow: Tokens between a list and its answer.
        end: Tokens after an answer.
        names: What each token stands for, for people to read.
    """

    words: tuple[int, ...]
    arrow: tuple[int, ...]
    end: tuple[int, ...]
    names: dict[int, str]

    @property
    def candidates(self) -> tuple[int, ...]:
        """Offsets of a list's words from the position at which the model answers."""
        return tuple(range(-LENGTHS - len(self.arrow) + 1, -len(self.arrow) + 1))

    def width(self, pairs: int) -> int:
        """Positions of a prompt up to the last arrow."""
        return pairs * (LENGTHS + len(self.arrow) + 1 + len(self.end)) - 1 - len(self.end)


# For a model whose vocabulary is these words and signs.
PLAIN = Spelling(
    words=tuple(range(len(ALL_WORDS))),
    arrow=(len(ALL_WORDS),),
    end=(len(ALL_WORDS) + 1,),
    names=dict(enumerate((*ALL_WORDS, "->", ";"))),
)


def rule_names(rules: Sequence[str]) -> tuple[str, ...]:
    """Names of all rules of some kinds: `position 1`, `category food`, `length longest`."""
    names = {
        "position": [f"position {place + 1}" for place in range(LENGTHS)],
        "category": [f"category {name}" for name in CATEGORIES],
        "length": ["length shortest", "length longest"],
    }
    return tuple(name for rule in rules for name in names[rule])


def drawn_lists(
    count: int, pairs: int, generator: Generator
) -> tuple[Int[Tensor, "prompt pair word"], Int[Tensor, "prompt pair word"]]:
    """Category and length of each word of random lists; no two words of a list agree in either."""
    shape = (count, pairs)
    categories = torch.rand(*shape, len(CATEGORIES), generator=generator).argsort(2)[..., :LENGTHS]
    lengths = torch.rand(*shape, LENGTHS, generator=generator).argsort(2)
    return categories, lengths


def with_category(
    categories: Int[Tensor, "prompt pair word"], asked: Int[Tensor, " prompt"], generator: Generator
) -> Int[Tensor, "prompt pair word"]:
    """The same lists, but where the asked category is missing, it replaces that of a random word.

    Args:
        categories: The category of each word.
        asked: The category that each prompt asks for; negative where it asks for none.
        generator: Decides which words are replaced.
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
        rules: Names of all rules, as `rule_names` gives them.
        rule: The index of each prompt's rule among `rules`.
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
