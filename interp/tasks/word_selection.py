"""Word selection: a hidden rule chooses a word from each list; only the examples reveal the rule.

    cat blue bread finger -> finger ; table red egg lion -> table ; hand pie tiger yellow -> ?

The rule is the same throughout a prompt: a place in the list, a category, or the longest or
shortest word. Words belong to five categories and have three to six letters. The words of a list
have different categories and different lengths, so that every rule has exactly one answer. An
answer counts as right if the model finds it likelier than the list's other words.

Source: ours, the words too. Fu et al. 2024 (arXiv:2309.06054) follow a language model on a task of
this name. Its data and settings are not known to us; this is another task.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, field_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, PromptFacts, Sizes
from hooks.circuits.pairs import Pairs
from interp.randomness import generator
from interp.tasks.base import Batch, Task, late_share, partners, sampled, share
from interp.tasks.fields import Count, Several, TwoOrMore
from interp.tasks.pairing import differing, permuted, prompted

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
WORDS_OF_A_LENGTH = 2  # words of one length in each category
KINDS_OF_RULE = ("position", "category", "length")


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
ANSWER = LENGTHS + len(PLAIN.arrow)  # place of an answer after the beginning of its list
BLOCK = PLAIN.width(2) - PLAIN.width(1)  # positions from one list to the next


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
    keys = torch.rand(count, pairs, len(CATEGORIES), generator=generator)
    lengths = torch.rand(count, pairs, LENGTHS, generator=generator).argsort(2)
    return keys.argsort(2)[..., :LENGTHS], lengths


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


def chosen_places(
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
    choices = [  # in the order of `rule_names`
        *(torch.full(lengths.shape[:2], place) for place in range(LENGTHS)),
        *((categories == category).long().argmax(2) for category in range(len(CATEGORIES))),
        lengths.argmin(2),
        lengths.argmax(2),
    ]
    places = dict(zip(rule_names(KINDS_OF_RULE), choices, strict=True))
    return torch.stack([places[name] for name in rules])[rule, torch.arange(len(rule))]


class WordSelection(Task):
    """Several `list -> chosen word` examples under a hidden rule.

    Attributes:
        pairs: Number of lists in a prompt.
        rules: Kinds of rules: position, category, length.
        test_prompts: Number of prompts in the split `test`.
    """

    metrics: ClassVar = ("loss", "accuracy", "late_accuracy")
    changes: ClassVar = {"rule": False, "permute": True}

    name: Literal["word_selection"] = "word_selection"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    pairs: TwoOrMore = 8
    rules: Several[Literal["position", "category", "length"]] = Field(
        default=KINDS_OF_RULE, min_length=1
    )
    test_prompts: Count = 500

    @field_validator("rules")
    @classmethod
    def _rules_differ(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(rules)) < len(rules):
            raise ValueError(f"rules {list(rules)}: name each kind once")
        return rules

    @property
    def sizes(self) -> Sizes:
        """The words and two signs, as inputs and as outputs."""
        tokens = len(PLAIN.names)
        return Sizes(d_vocab=tokens, d_vocab_out=tokens, n_ctx=PLAIN.width(self.pairs))

    @property
    def facts(self) -> Facts:
        """The facts that `facts_in` gives for the vocabulary of these words and signs."""
        return self.facts_in(PLAIN)

    def facts_in(self, spelling: Spelling) -> Facts:
        """Chance (`best_guess` of the rules) and `PromptFacts`: a prompt asks for a rule."""
        return Facts(
            chance=best_guess(self.rules),
            groups=(
                PromptFacts(
                    pairs=self.pairs,
                    asked="rule",
                    asked_names=rule_names(self.rules),
                    group="rule",
                    candidates=spelling.candidates,
                ),
            ),
        )

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Training prompts, on the CPU.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        return self._prompts(self.count_to_draw(count), PLAIN, generator)[0]

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts with the labels `rule` (its number) and `answer` (the place in the last list)."""
        return self.examples_in(PLAIN, split, count, seed)

    def examples_in(self, spelling: Spelling, split: str, count: int | None, seed: int) -> Examples:
        """The same prompts as another vocabulary writes them."""
        self.check_split(split)
        batch, labels = self._prompts(self.test_prompts, spelling, generator(seed, 1, 1, 0))
        return Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            tokens=batch["tokens"],
            labels=labels,
            facts=self.facts_in(spelling),
            words=_words(batch["tokens"], spelling),
        ).head(count)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss over all words, and accuracy among the words of the list. Pure.

        `late_accuracy` counts the last four answers of each prompt.
        """
        # At the position that answers list k, candidates[..., i] is word i of list k.
        offsets = PLAIN.candidates
        candidates = torch.stack([batch["tokens"].roll(-by, dims=1) for by in offsets], dim=2)
        best = logits.gather(2, candidates).argmax(2, keepdim=True)
        is_right = candidates.gather(2, best)[..., 0] == batch["targets"]
        return {
            "loss": self.loss(logits, batch),
            "accuracy": share(is_right, batch["scored"], logits.dtype),
            "late_accuracy": late_share(is_right, batch["scored"], logits.dtype),
        }

    def _paired(self, split: str, count: int | None, seed: int, change: str) -> Pairs:
        """Prompts in which all words stay, and the answers of the examples are another rule's.

        The other rule has an answer in every list, and chooses another word in the last list and in
        some example. In controls the examples stand in another order, and the wrong word is that of
        such a rule.
        """
        shown = self.examples(split, None, seed)
        places = _places(rule_names(self.rules), shown.model_inputs)
        own = places[shown.label("rule"), torch.arange(len(shown))]
        differs = places != own
        allowed = (places >= 0).all(2) & differs[..., -1] & differs[..., :-1].any(2)
        rows = sampled(allowed.any(0).nonzero()[:, 0], count, seed)
        rule = partners(allowed.T[rows], seed)[1]
        own, other = own[rows], places[rule, rows]
        position = torch.full_like(rows, PLAIN.width(self.pairs) - 1)
        clean = prompted(shown.at(rows), position)
        starts, tokens = BLOCK * torch.arange(self.pairs), clean.model_inputs.clone()
        chosen = tokens.gather(1, starts + other)
        corrupted = clean
        if change == "rule":
            tokens[:, starts[:-1] + ANSWER] = chosen[:, :-1]
            targets = clean.targets.scatter(1, position[:, None], chosen[:, -1:])
            labels = {"rule": rule, "answer": other[:, -1]}
            corrupted = replace(clean, targets=targets, labels=labels)
        else:
            tokens = permuted(tokens, BLOCK, seed)
        pairs = Pairs(
            clean=clean,
            corrupted=replace(corrupted, tokens=tokens, words=_words(tokens, PLAIN)),
            position=position,
            right=clean.targets[:, -1],
            wrong=chosen[:, -1],
            change=change,
            control=self.changes[change],
            roles={
                "last answer": torch.full_like(rows, int(starts[-2]) + ANSWER),
                "right word": starts[-1] + own[:, -1],
                "wrong word": starts[-1] + other[:, -1],
                "query": position,
            },
        )
        return differing(pairs)

    def _prompts(
        self, count: int, spelling: Spelling, drawing: Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prompts, as a batch, and their labels."""
        names = rule_names(self.rules)
        rule = torch.randint(len(names), (count,), generator=drawing)
        category_by_rule = [
            CATEGORIES.index(name.partition(" ")[2]) if name.startswith("category") else -1
            for name in names
        ]
        categories, lengths = drawn_lists(count, self.pairs, drawing)
        categories = with_category(categories, torch.tensor(category_by_rule)[rule], drawing)
        which = torch.randint(WORDS_OF_A_LENGTH, categories.shape, generator=drawing)
        word = (categories * LENGTHS + lengths) * WORDS_OF_A_LENGTH + which
        tokens = torch.tensor(spelling.words)[word]
        place = chosen_places(names, rule, (categories, lengths))
        answers = tokens.gather(2, place[..., None])[..., 0]
        return _in_a_row(tokens, answers, spelling), {"rule": rule, "answer": place[:, -1]}


def _places(
    names: Sequence[str], tokens: Int[Tensor, "prompt pos"]
) -> Int[Tensor, "rule prompt pair"]:
    """The place of the word that each rule chooses in each list; -1 where it chooses none.

    Args:
        names: Names of all rules, as `rule_names` gives them.
        tokens: Prompts in `PLAIN`, where a word's number is
            (category * LENGTHS + length) * WORDS_OF_A_LENGTH + which.
    """
    kinds = tokens.unfold(1, LENGTHS, BLOCK) // WORDS_OF_A_LENGTH
    categories, lengths = kinds // LENGTHS, kinds % LENGTHS
    rules = torch.arange(len(names))[:, None].expand(-1, len(tokens))
    places = torch.stack([chosen_places(names, rule, (categories, lengths)) for rule in rules])
    for index, name in enumerate(names):
        kind, _, category = name.partition(" ")
        if kind == "category":
            is_missing = (categories != CATEGORIES.index(category)).all(2)
            places[index] = places[index].masked_fill(is_missing, -1)
    return places


def _words(tokens: Int[Tensor, "prompt pos"], spelling: Spelling) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(spelling.names[token] for token in row) for row in tokens.tolist())


def best_guess(rules: Sequence[str]) -> float:
    """Best accuracy of an observer who sees a list without examples and knows how prompts are made.

    One rule of position and one of category choose any word of a list; a rule of length chooses
    the longest (or the shortest) word too, which is therefore the best guess. Seeing the list makes
    some rules likelier. A list lacks one of the five categories. Under a rule of category, the
    asked category is never the missing one, so that each of the other four is missing with
    probability 1/4; under any other rule each of the five is missing with probability 1/5. So the
    rules of the four categories in the list are 5/4 as likely as the rules of another kind:

        (1 [position] + 5/4 [category] + 1 [length]) / (4 [position] + 5 [category] + 2 [length])

    Args:
        rules: The kinds of rules in the task.
    """
    missing = len(CATEGORIES) / (len(CATEGORIES) - 1)
    votes = {"position": 1.0, "category": missing, "length": 1.0}
    return sum(votes[kind] for kind in rules) / len(rule_names(rules))


def _in_a_row(tokens: Tensor, answers: Tensor, spelling: Spelling) -> dict[str, Tensor]:
    """A batch of lists, signs and answers in a row; a prompt ends before its last answer."""
    arrow, end = (
        torch.tensor(sign).expand(*answers.shape, -1) for sign in (spelling.arrow, spelling.end)
    )
    blocks = torch.cat([tokens, arrow, answers[..., None], end], dim=2)
    scored = torch.zeros_like(blocks, dtype=torch.bool)
    scored[..., LENGTHS + len(spelling.arrow) - 1] = True
    targets = torch.where(scored, answers[..., None], 0)
    width = spelling.width(answers.shape[1])
    batch = {"tokens": blocks, "targets": targets, "scored": scored}
    return {name: values.flatten(1)[:, :width].clone() for name, values in batch.items()}
