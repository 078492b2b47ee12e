"""Question formation: which auxiliary moves to the front, the main one or the first?

Of `my walrus that does giggle doesn't sleep . quest` the question begins with `doesn't`, the main
clause's auxiliary. In training no question has a relative clause on its subject, so that the first
auxiliary is always the main one; in the generalization set every question has one. There the two
auxiliaries have the same number and opposite polarity: fronting the first is never right, and
guessing between the two is right half the time.

Source: McCoy, Frank and Linzen 2020 (arXiv:2001.03632); Murty et al. 2023 (arXiv:2305.18741).
Probabilities are fitted to the published lines, since those of the published grammar differ.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import model_validator
from torch import Tensor

from hooks import Snapshot
from interp.tasks.base import Batch, share
from interp.tasks.language.english import EnglishTask, Language, Lines, Weights, plural_heads
from interp.tasks.language.grammar import (
    AUXILIARIES,
    CLASSES,
    INTRANSITIVE,
    SUBJECTS,
    TRANSITIVE,
    Sentences,
    forms,
)

UNINFLECTED = forms((INTRANSITIVE, INTRANSITIVE), (TRANSITIVE, TRANSITIVE))
QUESTIONS = Language(
    has_auxiliaries=True,
    markers=("decl", "quest"),
    ends=(".", "?"),
    source=UNINFLECTED,
    changed=UNINFLECTED,
    fronts=True,
)
# The classes of the three words after the head noun, by which kinds of relative clause differ.
CLAUSE_BEGINNINGS = {
    "SRC_i": ("Rel", "Aux", "Vi"),
    "SRC_t": ("Rel", "Aux", "Vt"),
    "ORC": ("Rel", "Det", "N"),
}
# Of PREDICATES: intransitive, then the object bare, with PP, SRC_i, SRC_t, ORC.
PREDICATE_WEIGHTS = (0.2245, 0.2285, 0.2365, 0.155, 0.0785, 0.077)
# Of SUBJECTS: bare, PP, SRC_i, SRC_t, ORC. In rc60 and rc60-orc80 relative clauses have 0.6
# together, and bare and PP share the rest in the fitted ratio.
SUBJECT_WEIGHTS = {
    "fitted": (0.511, 0.205, 0.071, 0.071, 0.142),
    "rc60": (0.4 * 0.511 / 0.716, 0.4 * 0.205 / 0.716, 0.15, 0.15, 0.3),
    "rc60-orc80": (0.4 * 0.511 / 0.716, 0.4 * 0.205 / 0.716, 0.06, 0.06, 0.48),
}
# ORC has twice the weight, since half of its sentences are discarded: those whose inner noun has
# another number than the subject.
GENERALIZATION_WEIGHTS: Weights = ((0, 0, 0.25, 0.25, 0.5), (0.6, 0.2, 0.2, 0, 0, 0))


class QuestionFormation(EnglishTask):
    """Sentences to be copied or made into questions.

    Attributes:
        sentences: The distribution of training sentences. `fitted` is that of the published ones.
            In rc60 and rc60-orc80, 60 % of subjects have a relative clause, of which SRC_i, SRC_t
            and ORC have the shares 25:25:50 and 10:10:80. Neither of these two is published.
    """

    splits: ClassVar = ("validation", "generalization", "train", "train_questions")
    widths: ClassVar = (23, 29, 33, 37)  # 2 n + 5 for sentences of n = 9, 12, 14 and 16 words
    language: ClassVar = QUESTIONS  # 68 words; a change moves the main auxiliary to the front
    chance: ClassVar = 1 / 4  # of one auxiliary in four
    split_of_pairs: ClassVar = "generalization"  # all others lack sentences of two auxiliaries
    changes: ClassVar = {"exchange": False, "number": False, "object": True}
    roles: ClassVar = {
        "noun": "noun",
        "relative auxiliary": "clause",
        "main auxiliary": "main",
        "object": "object",
    }
    metrics: ClassVar = (
        *("loss", "accuracy", "first_word_accuracy", "line_accuracy"),
        *(f"accuracy_{kind}" for kind in CLAUSE_BEGINNINGS),
    )

    name: Literal["question_formation"] = "question_formation"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    sentences: Literal["fitted", "rc60", "rc60-orc80"] = "fitted"

    @model_validator(mode="after")
    def _files_have_their_own_sentences(self) -> "QuestionFormation":
        if self.files is not None and self.sentences != "fitted":
            raise ValueError(f"sentences {self.sentences} are drawn, and files are read: take one")
        return self

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats, and the shares of questions that begin, and of lines that are, right.

        `accuracy` is the paper's: whether the first word of each question is the best of the four
        auxiliaries; `first_word_accuracy` takes the best of all words. `line_accuracy` is the
        share of lines, copies included, of which greedy decoding would give all. `accuracy_SRC_i`
        and so on are `accuracy` over the questions with such a relative clause on the subject. NaN
        where there is no such question.
        """
        targets, dtype = batch["targets"], logits.dtype
        is_right, is_first = self.first_words(logits, targets)
        return {
            "loss": self.loss(logits, batch),
            "accuracy": share(is_right, is_first, dtype),
            "first_word_accuracy": share(logits.argmax(-1) == targets, is_first, dtype),
            "line_accuracy": self.answered(logits, targets).to(dtype).mean(),
        } | {
            f"accuracy_{kind}": share(is_right, is_first & is_kind[:, None], dtype)
            for kind, is_kind in clauses(targets).items()
        }

    def first_words(
        self, logits: Float[Tensor, "batch pos d_vocab_out"], targets: Int[Tensor, "batch pos"]
    ) -> tuple[Bool[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
        """Where the next word is the best of the four auxiliaries, and where questions begin."""
        ids = [QUESTIONS.ids[word] for words in AUXILIARIES for word in words]
        best = torch.tensor(ids, device=logits.device)[logits[..., ids].argmax(-1)]
        is_marker = targets == QUESTIONS.ids["quest"]
        is_first = torch.cat([torch.zeros_like(is_marker[:, :1]), is_marker[:, :-1]], dim=1)
        return best == targets, is_first

    def by_subject(self, snapshot: Snapshot) -> dict[str, float]:
        """`accuracy` for each kind of subject that occurs in the snapshot's questions."""
        examples = snapshot.examples
        is_right, is_first = self.first_words(snapshot.logits().cpu(), examples.targets.cpu())
        is_question, begins_right = is_first.any(1), (is_right & is_first).any(1)
        subjects = examples.label("subject").cpu()
        return {
            name: float(begins_right[rows].double().mean())
            for subject, name in enumerate(SUBJECTS)
            if (rows := is_question & (subjects == subject)).any()
        }

    def weights(self, split: str) -> Weights:
        """The weights of `sentences`; for generalization, always those of the published lines."""
        if split == "generalization":
            return GENERALIZATION_WEIGHTS
        return SUBJECT_WEIGHTS[self.sentences], PREDICATE_WEIGHTS

    def divides_rules(self, sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
        """Whether a relative clause modifies the subject."""
        return sentences.subject >= SUBJECTS.index("SRC_i")

    def generalizes(self, sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
        """Whether the first and the main auxiliary have the same number and opposite polarity."""
        grammar, rows = QUESTIONS.grammar, np.arange(len(sentences))
        first = np.array([names.index("Aux") for names in grammar.templates])[sentences.template]
        noun = grammar.agrees[sentences.template, first]
        is_same_number = sentences.is_plural(noun) == plural_heads(sentences)
        main = grammar.main[sentences.template]
        return is_same_number & (sentences.choices[rows, first] != sentences.choices[rows, main])

    def rivals(self, sentences: Sentences) -> Sentences:
        """Sentences whose main auxiliary has the opposite polarity."""
        main = QUESTIONS.grammar.main[sentences.template]
        return sentences.with_choices(main, 1 - sentences.choice(main))

    def _lines(self, split: str, generator: torch.Generator) -> Lines:
        if split != "train_questions":
            return super()._lines(split, generator)
        lines = super()._lines("train", generator)
        return lines.at(lines.is_changed)


def clauses(targets: Int[Tensor, "batch pos"]) -> dict[str, Bool[Tensor, " batch"]]:
    """For each kind of relative clause, whether the subject has it, judged by the words. Pure."""
    classes = torch.full((len(QUESTIONS.vocabulary),), -1)
    for name, numbers in UNINFLECTED.items():
        classes[[QUESTIONS.ids[word] for words in numbers for word in words]] = CLASSES.index(name)
    after_noun = classes.to(targets.device)[targets[:, 2:5]]
    return {
        kind: (after_noun == after_noun.new_tensor([*map(CLASSES.index, names)])).all(-1)
        for kind, names in CLAUSE_BEGINNINGS.items()
    }
