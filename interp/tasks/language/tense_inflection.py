"""Tense inflection: does the main verb agree with its subject, or with the nearest noun?

`my quail upon my peacocks remembered her unicorns . PRESENT` is followed by the same sentence in
the present. The right verb is `remembers`, which agrees with the quail, and not `remember`, which
agrees with the nearest noun. In the PRESENT lines of training the two nouns have the same number;
in those of the generalization set they differ.

Source: McCoy, Frank and Linzen 2020 (arXiv:2001.03632); Murty et al. 2023 (arXiv:2305.18741).
Probabilities are fitted to the published lines, since those of the published grammar differ.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks import Snapshot, Tree
from hooks.generate import greedy
from interp.tasks.base import Batch
from interp.tasks.fields import Count
from interp.tasks.language.english import EnglishTask, Language, Lines, Weights, plural_heads
from interp.tasks.language.english_pairs import with_other_number
from interp.tasks.language.grammar import (
    HEAD_SLOT,
    INTRANSITIVE,
    INTRANSITIVE_PAST,
    TRANSITIVE,
    TRANSITIVE_PAST,
    Sentences,
    forms,
    nearest_noun,
)

PAST = forms((INTRANSITIVE_PAST, INTRANSITIVE_PAST), (TRANSITIVE_PAST, TRANSITIVE_PAST))
PRESENT = forms(
    (tuple(f"{verb}s" for verb in INTRANSITIVE), INTRANSITIVE),
    (tuple(f"{verb}s" for verb in TRANSITIVE), TRANSITIVE),
)
TENSES = Language(
    has_auxiliaries=False,
    markers=("PAST", "PRESENT"),
    ends=(".", "."),
    source=PAST,
    changed=PRESENT,
    fronts=False,
)
# Of SUBJECTS: bare, PP, SRC_i, SRC_t, ORC. Of PREDICATES: intransitive, then kinds of object.
WEIGHTS: Weights = ((1 / 3, 1 / 3, *[1 / 9] * 3), (1 / 4, 1 / 4, 1 / 4, *[1 / 12] * 3))
TAGS = {  # the class of each word; all forms of all verbs have the same
    word: "V" if name in ("Vi", "Vt") else name
    for tense in (PAST, PRESENT)
    for name, numbers in tense.items()
    for words in numbers
    for word in words
}
MAX_DECODED_TOKENS = 50  # as in the released code


class TenseInflection(EnglishTask):
    """Sentences in the past to be copied or put into the present.

    Attributes:
        scored_lines: How many lines of a split are scored. They are drawn once, and not all are
            taken because decoding is slow.
    """

    widths: ClassVar = (21, 25, 29, 31)  # 2 n + 5 for sentences of n = 8, 10, 12 and 13 words
    language: ClassVar = TENSES  # 98 words; a change puts the verbs into the present
    chance: ClassVar = 0.5  # of the main verb's two forms
    changes: ClassVar = {"number": False, "both": False, "distractor": True}
    roles: ClassVar = {"noun": "noun", "distractor": "distractor", "verb": "main"}
    leaves_kind: ClassVar = frozenset({"number", "distractor"})  # the nouns then agree, or differ
    metrics: ClassVar = ("loss", "accuracy", "verb_accuracy", "line_accuracy")

    name: Literal["tense_inflection"] = "tense_inflection"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    scored_lines: Count = 2_000

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats, and the share of lines of which greedy decoding would give all."""
        return {
            "loss": self.loss(logits, batch),
            "line_accuracy": self.answered(logits, batch["targets"]).to(logits.dtype).mean(),
        }

    def score(self, snapshot: Snapshot) -> dict[str, float]:
        """The grade of some lines, and the share that greedy decoding inflects rightly.

        `accuracy` is the paper's: the main verb is right and every word is of the right class.
        `verb_accuracy` is about the main verb alone, which is looked for among the decoded words.
        """
        if len(snapshot.examples) > self.scored_lines:
            snapshot = snapshot.on(snapshot.examples.drawn(self.scored_lines, 0))
        graded = super().score(snapshot)
        pairs = list(zip(self.decoded(snapshot), self._answers(snapshot), strict=True))
        is_verb_right = [main_verb(words) == main_verb(answer) for words, answer in pairs]
        are_tags_right = [_tags(words) == _tags(answer) for words, answer in pairs]
        return {
            "loss": graded["loss"],
            "accuracy": float(np.mean(np.logical_and(is_verb_right, are_tags_right))),
            "verb_accuracy": float(np.mean(is_verb_right)),
            "line_accuracy": graded["line_accuracy"],
        }

    def decoded(self, snapshot: Snapshot) -> list[list[str]]:
        """The words that greedy decoding gives after each line's marker, without a last full stop.

        Lines that the model answers rightly when fed the right words are not decoded, since greedy
        decoding would feed it the same words.
        """
        examples = snapshot.examples
        tokens, starts = examples.model_inputs, examples.label("words") + 3
        is_right = self.answered(snapshot.logits(), examples.targets.to(snapshot.logits().device))
        wrong = (~is_right).nonzero()[:, 0].to(tokens.device)
        answers, stop = self._answers(snapshot), TENSES.ids["EOS"]
        ids = greedy(snapshot, tokens[wrong], starts[wrong], count=MAX_DECODED_TOKENS, stop=stop)
        for row, row_ids in zip(wrong.tolist(), ids, strict=True):
            words = [TENSES.vocabulary[token] for token in row_ids]
            answers[row] = words[:-1] if words[-1:] == ["."] else words
        return answers

    def _answers(self, snapshot: Snapshot) -> list[list[str]]:
        """The right answer of each line, as words."""
        examples = snapshot.examples
        rows = zip(examples.model_inputs.tolist(), examples.label("words").tolist(), strict=True)
        return [[TENSES.vocabulary[token] for token in row[n + 3 : 2 * n + 3]] for row, n in rows]

    def weights(self, split: str) -> Weights:
        """The fitted weights, which are the same for every split."""
        return WEIGHTS

    def divides_rules(self, sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
        """Whether the last noun before the main verb differs in number from the verb's subject."""
        pairs = zip(TENSES.grammar.templates, TENSES.grammar.main.tolist(), strict=True)
        nearest = np.array([nearest_noun(classes, main) for classes, main in pairs])
        return sentences.is_plural(nearest[sentences.template]) != plural_heads(sentences)

    def rivals(self, sentences: Sentences) -> Sentences:
        """Sentences whose subject has the other number."""
        return with_other_number(sentences, np.full(len(sentences), HEAD_SLOT))

    def _truth(self, lines: Lines, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        labels, trees = super()._truth(lines, batch)
        return labels | {"conflict": torch.from_numpy(self.divides_rules(lines.sentences))}, trees


def main_verb(words: Sequence[str]) -> str | None:
    """The main verb of an answer; None where there is none.

    It is the second verb where the third word is a relativizer, otherwise the first.
    """
    tags = _tags(words)
    verbs = [word for word, tag in zip(words, tags, strict=True) if tag == "V"]
    place = 1 if tags[2:3] == ["Rel"] else 0
    return verbs[place] if place < len(verbs) else None


def _tags(words: Sequence[str]) -> list[str]:
    """The class of each word; a sign stands for itself."""
    return [TAGS.get(word, word) for word in words]
