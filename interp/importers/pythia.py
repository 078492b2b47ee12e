"""The checkpoints of a language model, with prompts of word selection.

    revisions = ["step0", "step1000", "step143000"]
    checkpoints = interp.language_series("EleutherAI/pythia-70m", revisions)
    LearningPlateau.measure(checkpoints)

Transformers looks a name up. A folder must have a folder for each revision, written by
save_pretrained, tokenizer included. Each revision is read when it is asked for, and not kept in
memory. Nothing in a revision is run: its code is ignored, and weights are read from safetensors
only, not from pickles.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from hooks import GivenCheckpoints, Sizes
from hooks.models.neox import NeoXConfig, neox_config, neox_parameters
from interp.config.experiment import readable
from interp.tasks.word_selection import ALL_WORDS, Spelling, WordSelection

STEP = re.compile(r"step([0-9]{1,12})")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
ARROW, END = " ->", "\n"


def language_series(
    directory_or_name: str | Path, revisions: Sequence[str], *, task: WordSelection | None = None
) -> GivenCheckpoints:
    """Checkpoints of one GPT-NeoX model, such as a Pythia model, without metrics.

    Args:
        directory_or_name: A folder with a folder for each revision, or a name on the Hugging Face
            hub.
        revisions: Names such as `step1000`, in which the number is the step.
        task: The task that makes the prompts; by default word selection with its default fields.

    Raises:
        FileNotFoundError: There is no such folder, or it lacks a revision.
        ValueError: A revision names no step, or two name the same; the name is neither a folder nor
            known; the model has another architecture, needs code of its own or has no safetensors;
            a word of the task is no single token. Reading a step raises it too, where the model
            cannot be read, lacks weights, or has another shape than the first one.
    """
    places = _places(directory_or_name, revisions)
    from transformers import AutoConfig, AutoTokenizer, GPTNeoXForCausalLM  # heavy

    first = next(iter(places.values()))
    tokenizer = _pretrained(AutoTokenizer, first)
    config, sizes = _shape(_pretrained(AutoConfig, first), first)

    def parameters(step: int) -> dict[str, Tensor]:
        place = places[step]
        model, loading = _pretrained(
            GPTNeoXForCausalLM, place, use_safetensors=True, output_loading_info=True
        )
        lacking = [*loading["missing_keys"], *loading["mismatched_keys"]]
        if lacking:
            raise ValueError(
                f"{_named(place)} lacks {lacking[0]}, which would be drawn at random: it is not "
                "the whole model"
            )
        if _shape(model.config, place) != (config, sizes):
            raise ValueError(
                f"{_named(place)} is of another shape than {_named(first)}: their config.json "
                "differ, so that they are no checkpoints of one model"
            )
        return neox_parameters(model, config)

    spelling = spelling_of(tokenizer)
    prompts = task or WordSelection()
    if spelling.width(prompts.pairs) > sizes.n_ctx:
        raise ValueError(
            f"pairs {prompts.pairs} take {spelling.width(prompts.pairs)} tokens, the model reads "
            f"{sizes.n_ctx}: lower pairs"
        )
    return GivenCheckpoints(
        steps=tuple(places),
        config=config,
        sizes=sizes,
        parameters=parameters,
        make_examples=lambda split, count, seed: prompts.examples_in(
            spelling, split or "test", count, seed or 0
        ),
        facts=prompts.facts_in(spelling),
    )


def _pretrained(cls: Any, place: Mapping[str, Any], **options: Any) -> Any:
    """What transformers reads from a revision, without running code that comes with it.

    Raises:
        ValueError: It cannot be read; the message is one line.
    """
    try:
        return cls.from_pretrained(**place, trust_remote_code=False, **options)
    except Exception as error:  # a damaged file, or a config of wrong types, may fail in any way
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise ValueError(f"{_named(place)} cannot be read: {reason}") from None


def _shape(settings: Any, place: Mapping[str, Any]) -> tuple[NeoXConfig, Sizes]:
    """Config and sizes of a revision.

    Raises:
        ValueError: The model is of another kind; the message is one line.
    """
    try:
        return neox_config(settings)
    except ValueError as error:
        reason = readable(error) if isinstance(error, ValidationError) else error
        raise ValueError(f"{_named(place)}: {reason}") from None


def _named(place: Mapping[str, Any]) -> str:
    revision = f" ({place['revision']})" if "revision" in place else ""
    return f"{place['pretrained_model_name_or_path']}{revision}"


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


def _places(directory_or_name: str | Path, revisions: Sequence[str]) -> dict[int, dict[str, Any]]:
    """For each step, the arguments of transformers' from_pretrained.

    Raises:
        FileNotFoundError: The folder lacks a revision.
        ValueError: A revision names no step, or one twice, or there are none.
    """
    is_text = isinstance(revisions, str)
    if is_text or not revisions or not all(map(STEP.fullmatch, revisions)):
        raise ValueError(f'revisions {revisions!r}: list steps, such as ["step0", "step1000"]')
    steps = {int(revision.removeprefix("step")): revision for revision in revisions}
    if len(steps) < len(revisions):
        raise ValueError(f"revisions {list(revisions)}: each step once")
    folder, name = Path(directory_or_name), str(directory_or_name)
    if not folder.is_dir() and not HUB_NAME.fullmatch(name):
        raise FileNotFoundError(
            f"{directory_or_name} is no folder, and no name such as EleutherAI/pythia-70m"
        )
    if not folder.is_dir():
        return {
            step: {"pretrained_model_name_or_path": name, "revision": revision}
            for step, revision in sorted(steps.items())
        }
    for _, revision in sorted(steps.items()):
        if not (folder / revision / "config.json").is_file():
            raise FileNotFoundError(f"{folder / revision} holds no model: it has no config.json")
        if not any((folder / revision).glob("*.safetensors")):
            raise FileNotFoundError(
                f"{folder / revision} holds no .safetensors file; pickled weights are not read: "
                "save the model again with save_pretrained"
            )
    return {
        step: {
            "pretrained_model_name_or_path": str(folder / revision),
            "local_files_only": True,
        }
        for step, revision in sorted(steps.items())
    }
