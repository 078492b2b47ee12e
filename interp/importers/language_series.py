"""The checkpoints of a language model: GPT-2, Llama or GPT-NeoX, Pythia among them.

    revisions = ["step0", "step1000", "step143000"]
    checkpoints = interp.language_series("EleutherAI/pythia-70m", revisions)
    LearningPlateau.measure(checkpoints)

A name is looked up on the Hugging Face hub. A folder must have a folder for each revision, written
by save_pretrained. Each revision is read when it is asked for, and not kept in memory. Nothing in a
revision is run (`interp.importers.hugging_face`).
"""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from hooks import Examples, Facts, GivenCheckpoints, Sizes
from interp.config.experiment import readable
from interp.importers.archives import step_in_name
from interp.importers.configs import stated_options
from interp.importers.copies import equal_steps, fingerprint, note_of_copies
from interp.importers.hugging_face import WEIGHTS, Revision, has_weights
from interp.importers.layouts import Layout, layout_of
from interp.importers.plan import plan_of_config
from interp.tasks import Task
from interp.tasks.word_selection import ALL_WORDS, Spelling, WordSelection

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
ARROW, END = " ->", "\n"
MakeExamples = Callable[[str | None, int | None, int | None], Examples]


def language_series(
    directory_or_name: str | Path,
    revisions: Sequence[str],
    *,
    task: Task | None = None,
    examples: Examples | None = None,
) -> GivenCheckpoints:
    """Checkpoints of one language model, without metrics.

    Reading a step warns where its tensors equal those of another step that was read before.

    Args:
        directory_or_name: A folder with a folder for each revision, or a name on the Hugging Face
            hub.
        revisions: Names in which a number is the step: `step1000`, `checkpoint-500`,
            `stage1-step1000-tokens4B`.
        task: The task that makes the prompts; by default word selection with its default fields,
            written in the model's own tokens. Another task's tokens are taken as they are.
        examples: One's own tokens, or `repeated_sequences`, in place of a task.

    Raises:
        FileNotFoundError: There is no such folder, or it lacks a revision.
        ValueError: A revision names no step, or two name the same; the name is neither a folder nor
            known; the model has another architecture, needs code of its own or asks for what is
            not computed here; a word of the task is no single token; tokens or positions are
            beyond the model's. Reading a step raises it too, where the model cannot be read, lacks
            weights, or has another shape than the first one.
    """
    if task is not None and examples is not None:
        raise ValueError("task and examples: give one of the two")
    places = _places(directory_or_name, revisions)
    first = next(iter(places.values()))
    layout, stated = _stated(first)
    plan = _named(first, lambda: plan_of_config(stated, layout))
    make_examples, facts = _prompts(task, examples, first, plan.sizes)
    fingerprints: dict[int, str] = {}

    def parameters(step: int) -> dict[str, Tensor]:
        place = places[step]
        if _stated(place) != (layout, stated):
            raise ValueError(
                f"{place} is of another shape than {first}: their config.json differ, so that "
                "they are no checkpoints of one model"
            )
        read = _named(place, lambda: plan.parameters(place.state()))
        if step not in fingerprints:
            fingerprints[step] = fingerprint(read)
            for steps in equal_steps(fingerprints):
                if step in steps:
                    warnings.warn(f"{directory_or_name}: {note_of_copies(steps)}", stacklevel=2)
        return read

    return GivenCheckpoints(
        steps=tuple(places),
        config=plan.config,
        sizes=plan.sizes,
        parameters=parameters,
        make_examples=make_examples,
        facts=facts,
    )


def repeated_sequences(d_vocab: int, length: int, count: int, seed: int = 0) -> Examples:
    """Random tokens, written twice: at each token of the second half the next one can be known.

    A model that looks up what followed a token before (an induction head) answers all of them.
    Scored are the answers from the second writing of the first token on. Chance is 1 / d_vocab.

    Args:
        d_vocab: Tokens that are drawn from, all equally likely.
        length: Tokens that are repeated; a sequence has twice as many.
        count: Sequences.
        seed: Decides the tokens.

    Raises:
        ValueError: A number is too small.

    Source:
        Olsson et al. 2022 (arXiv:2209.11895), whose sequences begin with a fixed token besides.
    """
    if min(d_vocab, length) < 2 or count < 1:
        raise ValueError(
            f"repeated_sequences({d_vocab}, {length}, {count}): at least 2 tokens, a length of 2 "
            "and 1 sequence are needed"
        )
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(d_vocab, (count, length), generator=generator).repeat(1, 2)
    scored = torch.zeros_like(tokens, dtype=torch.bool)
    scored[:, length:-1] = True
    targets = tokens.roll(-1, dims=1) * scored
    return Examples(tokens=tokens, targets=targets, scored=scored, facts=Facts(chance=1 / d_vocab))


def _prompts(
    task: Task | None, examples: Examples | None, first: Revision, sizes: Sizes
) -> tuple[MakeExamples, Facts]:
    """How examples are made, and what is true of all of them.

    Raises:
        ValueError: A word is no single token, or tokens or positions are beyond the model's.
    """
    if examples is not None:
        _check_fits(examples, sizes)
        return (lambda split, count, seed: examples.drawn(count, seed or 0)), examples.facts
    if task is None or isinstance(task, WordSelection):
        return _word_selection(task or WordSelection(), first, sizes)

    def make_examples(split: str | None, count: int | None, seed: int | None) -> Examples:
        made = task.examples(split or task.splits[0], count, seed or 0)
        _check_fits(made, sizes)
        return made

    make_examples(None, 1, 0)
    return make_examples, task.facts


def _word_selection(
    task: WordSelection, first: Revision, sizes: Sizes
) -> tuple[MakeExamples, Facts]:
    from transformers import AutoTokenizer  # heavy

    spelling = spelling_of(first.read(AutoTokenizer))
    if spelling.width(task.pairs) > sizes.n_ctx:
        raise ValueError(
            f"pairs {task.pairs} take {spelling.width(task.pairs)} tokens, the model reads "
            f"{sizes.n_ctx}: lower pairs"
        )

    def make_examples(split: str | None, count: int | None, seed: int | None) -> Examples:
        return task.examples_in(spelling, split or "test", count, seed or 0)

    return make_examples, task.facts_in(spelling)


def _check_fits(examples: Examples, sizes: Sizes) -> None:
    """Refuses examples that the model cannot read."""
    if examples.tokens is None:
        raise ValueError("examples have real inputs: a language model reads tokens")
    examples.check_sizes(sizes.d_vocab, sizes.d_vocab_out)
    n_pos = examples.tokens.shape[1]
    if n_pos > sizes.n_ctx:
        raise ValueError(
            f"examples have {n_pos} positions, the model reads {sizes.n_ctx}: cut them"
        )


def _stated(place: Revision) -> tuple[Layout, dict[str, Any]]:
    """Layout and options of a revision.

    Raises:
        ValueError: The model is of another kind; the message is one line.
    """
    config = place.config()
    layout = _named(place, lambda: layout_of({}, config))
    return layout, _named(place, lambda: stated_options(config, {}, layout=layout))


def _named(place: Revision, made: Callable[[], Any]) -> Any:
    """What is made of a revision; an error names it, in one line."""
    try:
        return made()
    except ValueError as error:
        reason = readable(error) if isinstance(error, ValidationError) else str(error)
        named = reason if reason.startswith(place.source) else f"{place}: {reason}"
        raise ValueError(named) from None


def spelling_of(tokenizer: Any) -> Spelling:
    """How a tokenizer writes the task's words, each after a space, and its signs.

    Raises:
        ValueError: A word is no single token.
    """
    written = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in ALL_WORDS]
    split = [
        word
        for word, ids in zip(ALL_WORDS, written, strict=True)
        if len(ids) != 1 or ids == [tokenizer.unk_token_id]
    ]
    if split:
        raise ValueError(
            "word_selection needs words of one token each, and this tokenizer has none for: "
            f"{', '.join(split)}"
        )
    words = tuple(ids[0] for ids in written)
    arrow, end = (tuple(tokenizer.encode(sign, add_special_tokens=False)) for sign in (ARROW, END))
    signs = {token: tokenizer.decode([token]).strip() or "⏎" for token in (*arrow, *end)}
    return Spelling(words, arrow, end, dict(zip(words, ALL_WORDS, strict=True)) | signs)


def _places(directory_or_name: str | Path, revisions: Sequence[str]) -> dict[int, Revision]:
    """The revisions by step, ascending.

    Raises:
        FileNotFoundError: The folder lacks a revision.
        ValueError: A revision names no step, or one twice, or there are none.
    """
    steps = _steps(revisions)
    folder, name = Path(directory_or_name), str(directory_or_name)
    if not folder.is_dir() and not HUB_NAME.fullmatch(name):
        raise FileNotFoundError(
            f"{directory_or_name} is no folder, and no name such as EleutherAI/pythia-70m"
        )
    if not folder.is_dir():
        return {step: Revision(name, steps[step]) for step in sorted(steps)}
    for _, revision in sorted(steps.items()):
        if not (folder / revision / "config.json").is_file():
            raise FileNotFoundError(f"{folder / revision} holds no model: it has no config.json")
        if not has_weights(folder / revision):
            raise FileNotFoundError(
                f"{folder / revision} holds neither {' nor '.join(WEIGHTS)}: save the model again "
                "with save_pretrained"
            )
    return {step: Revision(str(folder / steps[step])) for step in sorted(steps)}


def _steps(revisions: Sequence[str]) -> dict[int, str]:
    """Revisions by the step that each name states.

    Raises:
        ValueError: A name states none, or two the same, or there are none.
    """
    example = 'list names that say their step, such as ["step0", "step1000"]'
    if isinstance(revisions, str) or not revisions:
        raise ValueError(f"revisions {revisions!r}: {example}")
    steps: dict[int, str] = {}
    for revision in revisions:
        try:
            step = step_in_name(revision)
        except ValueError as error:
            raise ValueError(f"revisions: {error}: {example}") from None
        if step is None:
            raise ValueError(f"revisions {list(revisions)}: {example}")
        if step in steps:
            raise ValueError(f"revisions {list(revisions)}: each step once")
        steps[step] = revision
    return steps
