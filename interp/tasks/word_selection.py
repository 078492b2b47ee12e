"""Word selection: a word is chosen from each list by a rule that only the examples tell.

    cat blue bread finger -> finger ; table red egg lion -> table ; hand pie tiger yellow -> ?

The rule, the same throughout a prompt, is a place in the list, a category, or the longest or
shortest word. An answer counts as right if of the list's words it is the likeliest.

Source: ours. Fu et al. 2024 (arXiv:2309.06054) follow a language model on a task of this name; its
data and settings are not known to us, and this is not it.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, PromptFacts, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch, Task
from interp.tasks.factors.late import late_share
from interp.tasks.fields import Count, Several, TwoOrMore
from interp.tasks.language.word_lists import (
    ALIKE,
    CATEGORIES,
    LENGTHS,
    PLAIN,
    Spelling,
    chosen,
    drawn_lists,
    rule_names,
    with_category,
)


class WordSelection(Task):
    """Several `list -> chosen word` examples under a hidden rule.

    Attributes:
        pairs: Lists of a prompt.
        rules: Kinds of rules: position, category, length.
        test_prompts: Prompts of the split `test`.
    """

    splits: ClassVar = ("test",)
    evaluated: ClassVar = ("test",)
    positions: ClassVar = "all"
    metrics: ClassVar = ("loss", "accuracy", "late_accuracy")

    name: Literal["word_selection"] = "word_selection"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    pairs: TwoOrMore = 8
    rules: Several[Literal["position", "category", "length"]] = Field(
        default=("position", "category", "length"), min_length=1
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
        """The words and two signs, in and out."""
        tokens = len(PLAIN.names)
        return Sizes(d_vocab=tokens, d_vocab_out=tokens, n_ctx=PLAIN.width(self.pairs))

    @property
    def facts(self) -> Facts:
        """As `facts_in` has them for the task's own vocabulary."""
        return self.facts_in(PLAIN)

    def facts_in(self, spelling: Spelling) -> Facts:
        """Chance (`best_guess` of the rules) and `PromptFacts`: a prompt asks for a rule."""
        prompts = PromptFacts(
            pairs=self.pairs,
            asked="rule",
            asked_names=rule_names(self.rules),
            group="rule",
            candidates=spelling.candidates,
        )
        return Facts(chance=best_guess(self.rules), groups=(prompts,))

    @property
    def train_count(self) -> None:
        """None: every batch is drawn anew."""
        return None

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Training prompts, on the CPU.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        if count is None:
            raise ValueError("count: word_selection draws without end; say how many prompts")
        return self._prompts(count, PLAIN, generator)[0]

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts with the labels `rule` (its number) and `answer` (the place in the last list)."""
        return self.examples_in(PLAIN, split, count, seed)

    def examples_in(self, spelling: Spelling, split: str, count: int | None, seed: int) -> Examples:
        """The same prompts as another vocabulary writes them."""
        if split not in self.splits:
            raise ValueError(f"split '{split}' is none of {', '.join(self.splits)}")
        batch, labels = self._prompts(self.test_prompts, spelling, generator(seed, 1, 1, 0))
        found = Examples(
            tokens=batch["tokens"], targets=batch["targets"], scored=batch["scored"],
            labels=labels, facts=self.facts_in(spelling),
            words=tuple(
                tuple(spelling.names[token] for token in row) for row in batch["tokens"].tolist()
            ),
        )  # fmt: skip
        return found if count is None else found.head(count)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss over all words; accuracy among the list's, and over the last four answers. Pure."""
        before = PLAIN.candidates
        known = torch.stack([batch["tokens"].roll(-each, dims=1) for each in before], dim=2)
        best = logits.gather(2, known).argmax(2, keepdim=True)
        right = known.gather(2, best)[..., 0] == batch["targets"]
        scored = batch["scored"]
        accuracy = (right & scored).sum(dtype=logits.dtype) / scored.sum(dtype=logits.dtype)
        late = late_share(right, scored).to(logits.dtype)
        return {"loss": self.loss(logits, batch), "accuracy": accuracy, "late_accuracy": late}

    def _prompts(
        self, count: int, spelling: Spelling, drawing: Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Prompts and their labels."""
        names = rule_names(self.rules)
        rule = torch.randint(len(names), (count,), generator=drawing)
        asked = [
            CATEGORIES.index(name.partition(" ")[2]) if name.startswith("category") else -1
            for name in names
        ]
        categories, lengths = drawn_lists(count, self.pairs, drawing)
        categories = with_category(categories, torch.tensor(asked)[rule], drawing)
        which = torch.randint(ALIKE, categories.shape, generator=drawing)
        word = (categories * LENGTHS + lengths) * ALIKE + which
        tokens = torch.tensor(spelling.words)[word]
        place = chosen(names, rule, (categories, lengths))
        answers = tokens.gather(2, place[..., None])[..., 0]
        return _laid(tokens, answers, spelling), {"rule": rule, "answer": place[:, -1]}


def best_guess(rules: Sequence[str]) -> float:
    """Best accuracy of whoever sees a list without examples, and knows how prompts are made.

    Every word of a list is chosen by one rule of position and by one of category, the longest (or
    the shortest) also by one of length, so that it is the best guess. Rules are not alike likely
    once the list is seen: it lacks one of five categories, each of the others with a chance of 1/4
    under a rule of category, whose own is put in where it lacks, and any with 1/5 under other
    rules. That makes rules of its four categories 5/4 as likely as the others:

        (1 [position] + 5/4 [category] + 1 [length]) / (4 [position] + 5 [category] + 2 [length])

    Args:
        rules: The kinds there are.
    """
    missing = len(CATEGORIES) / (len(CATEGORIES) - 1)
    votes = {"position": 1.0, "category": missing, "length": 1.0}
    return sum(votes[kind] for kind in rules) / len(rule_names(rules))


def _laid(tokens: Tensor, answers: Tensor, spelling: Spelling) -> dict[str, Tensor]:
    """Lists, signs and answers in a row, the last answer left out."""
    arrow, end = (
        torch.tensor(each).expand(*answers.shape, -1) for each in (spelling.arrow, spelling.end)
    )
    whole = torch.cat([tokens, arrow, answers[..., None], end], dim=2)
    scored = torch.zeros_like(whole, dtype=torch.bool)
    scored[..., LENGTHS + len(spelling.arrow) - 1] = True
    targets = torch.where(scored, answers[..., None], 0)
    width = spelling.width(answers.shape[1])
    rows = {"tokens": whole, "targets": targets, "scored": scored}
    return {name: each.flatten(1)[:, :width].clone() for name, each in rows.items()}
