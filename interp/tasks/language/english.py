"""What the two English tasks share: how their lines are drawn, and their labels and trees.

Lines are drawn one after another. A line is discarded if it would settle by which rule a sentence
is changed, or if it was drawn before. The first lines are for training and the next for validation,
as in the published data.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks import Facts, SentenceFacts
from hooks.examples import Tree
from interp.tasks.base import Batch
from interp.tasks.language.base import LanguageTask
from interp.tasks.language.files import read_lines
from interp.tasks.language.grammar import HEAD_SLOT, PREDICATES, SUBJECTS, Sentences, draw
from interp.tasks.language.lines import Language, Lines, joined
from interp.tasks.language.packing import Flat

CHUNK_LINES = 2**14  # lines drawn at a time; a larger draw begins with the same lines
Weights = tuple[Sequence[float], Sequence[float]]  # of kinds of subject and of predicate
DrawLines = Callable[[np.random.Generator], Lines]


class EnglishTask(LanguageTask):
    """Sentences to be copied, or changed by a rule that the training lines leave ambiguous."""

    @property
    def language(self) -> Language:
        """The words of the task, and how its lines are written."""
        raise NotImplementedError

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """What each token id stands for: PAD, the words in code-point order, EOS, SOS."""
        return self.language.vocabulary

    @property
    def facts(self) -> Facts:
        """Names that labels and tokens stand for."""
        kinds = SentenceFacts(subjects=SUBJECTS, predicates=PREDICATES)
        return Facts(vocabulary=self.vocabulary, groups=(kinds,))

    def answered(
        self, logits: Float[Tensor, "batch pos d_vocab_out"], targets: Int[Tensor, "batch pos"]
    ) -> Bool[Tensor, " batch"]:
        """Whether greedy decoding would give all of each line's second half, EOS included. Pure.

        That is so where every next token is the likeliest, given the right tokens before it.
        """
        copy, change = (self.language.ids[marker] for marker in self.language.markers)
        is_marker = ((targets == copy) | (targets == change)).long()
        is_answer = (is_marker.cumsum(-1) - is_marker > 0) & (targets > 0)
        return ~((logits.argmax(-1) != targets) & is_answer).any(-1)

    def _drawn(self, split: str, key: int) -> Lines:
        if split == "generalization":
            return collected(self._generalizing, self.generalization_lines or 0, (key, 1))
        train, validation = self.train_lines or 0, self.validation_lines or 0
        if split == "validation":
            return collected(self._in_domain, train + validation, (key, 0)).at(slice(train, None))
        return collected(self._in_domain, train, (key, 0))

    def _read(self, path: str) -> Lines:
        return read_lines(path, self.language)

    def settles(self, lines: Lines) -> Bool[np.ndarray, " line"]:
        """Whether each line is right by only one of the two rules, and so tells them apart."""
        raise NotImplementedError

    def _check_kind(self, split: str, lines: Lines, path: str) -> None:
        settles, wanted = self.settles(lines), split == "generalization"
        wrong = np.flatnonzero(settles != wanted)
        if len(wrong):
            verb = "does not tell" if wanted else "tells"
            where = "generalization has only lines that do" if wanted else "only generalization may"
            raise ValueError(
                f"{path}:{wrong[0] + 1}: this line {verb} the two rules apart, and {where}: take "
                "it out"
            )

    def _in_domain(self, rng: np.random.Generator) -> Lines:
        """The next lines of a stream that are like the training lines."""
        raise NotImplementedError

    def _generalizing(self, rng: np.random.Generator) -> Lines:
        """The next lines of a stream that tell the two rules apart."""
        raise NotImplementedError

    def _flat(self, lines: Lines) -> Flat:
        return self.language.flat(lines)

    def _width(self, lengths: Tensor) -> int:
        return self.widths[-1] - 1  # the longest line of the language

    def _truth(self, lines: Lines, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        sentences, grammar = lines.sentences, self.language.grammar
        facts = {
            "subject": sentences.subject,
            "predicate": sentences.predicate,
            "number": plural_heads(sentences).astype(np.int64),
            "words": grammar.lengths[sentences.template],
            "main": grammar.main[sentences.template] + 1,
            "changed": lines.is_changed,
        }
        trees = [shifted(tree) for tree in grammar.trees]
        labels = {name: torch.from_numpy(values) for name, values in facts.items()}
        return labels, tuple(trees[template] for template in sentences.template.tolist())


def some_lines(language: Language, weights: Weights, rng: np.random.Generator) -> Lines:
    """The next lines of a stream, none discarded; about half of them are to be changed."""
    sentences = draw(language.grammar, weights, CHUNK_LINES, rng)
    return Lines(sentences, rng.random(CHUNK_LINES) < 0.5)


def collected(draw_lines: DrawLines, count: int, key: tuple[int, ...]) -> Lines:
    """The first `count` different lines of a stream.

    Args:
        draw_lines: Draws the next lines of the stream.
        count: How many lines to return.
        key: The seed of the stream.
    """
    rng = np.random.default_rng(key)
    parts: list[Lines] = []
    while sum(map(len, parts)) < count:
        parts.append(draw_lines(rng))
        if sum(map(len, parts)) >= count:
            parts = [joined(parts)]
    return parts[0].at(slice(count))


def plural_heads(sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
    """Whether the main subject's noun is plural."""
    return sentences.is_plural(np.full(len(sentences), HEAD_SLOT))


def shifted(tree: Tree) -> Tree:
    """A tree over positions, of which SOS has position 0, from a tree over slots."""
    return tree + 1 if isinstance(tree, int) else (shifted(tree[0]), shifted(tree[1]))
