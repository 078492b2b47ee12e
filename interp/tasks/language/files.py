"""Published files of the English tasks: how each line is parsed and checked.

A line is `source<TAB>target`. The classes of a sentence's words determine its template, since no
two templates have the same sequence of classes. The parsed line is then written anew, and is
accepted if that gives the same text.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from interp.tasks.data_files import DataFile, stamp_of
from interp.tasks.fields import STRICT
from interp.tasks.language.grammar import CLASSES, MAX_WORDS, Sentences
from interp.tasks.language.lines import Language, Lines


class Files(BaseModel):
    """Paths of published files (`interp.tasks.data_files` says where relative paths begin)."""

    model_config = STRICT

    train: DataFile
    validation: DataFile
    generalization: DataFile


def read_lines(path: str, language: Language) -> Lines:
    """The lines of a file.

    Raises:
        ValueError: A line is not a line of the language; the message names file and line.
        FileNotFoundError: There is no such file.
    """
    reader, templates = _reader(language), language.grammar.templates
    places = {classes: place for place, classes in enumerate(templates)}
    texts = text_lines(path)
    template, choices, is_changed = [], np.zeros((len(texts), MAX_WORDS), dtype=np.uint8), []
    for number, text in enumerate(texts):
        where = f"{path}:{number + 1}"
        sentence, marker = _sentence(text, language, where)
        unknown = [word for word in sentence if word not in reader]
        if unknown:
            raise ValueError(f"{where}: '{unknown[0]}' is no word of a sentence here")
        classes = tuple(reader[word][0] for word in sentence)
        if classes not in places:
            raise ValueError(f"{where}: no sentence has the word classes {' '.join(classes)}")
        template.append(places[classes])
        choices[number, : len(sentence)] = [reader[word][1] for word in sentence]
        is_changed.append(marker == language.markers[1])
    lines = Lines(Sentences(np.array(template), choices), np.array(is_changed))
    _check_written(path, texts, language.texts(lines))
    return lines


def text_lines(path: str) -> list[str]:
    """The lines of a text file, without their ends.

    Raises:
        ValueError: It is empty, or not UTF-8.
        FileNotFoundError: There is no such file.
    """
    stamp_of(path)  # raises where there is no such file
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from None
    if not text:
        raise ValueError(f"{path}: the file is empty")
    return text.removesuffix("\n").split("\n")


def _reader(language: Language) -> dict[str, tuple[str, int]]:
    """For each word that a sentence may hold: its class, and its index among the class' words."""
    return {
        word: (name, choice)
        for name in CLASSES
        for words in language.source[name]
        for choice, word in enumerate(words)
        if word in language.ids
    }


def _sentence(text: str, language: Language, where: str) -> tuple[Sequence[str], str]:
    """The words of a line's sentence, and its marker."""
    source, tab, _ = text.partition("\t")
    if not tab:
        raise ValueError(f"{where}: not source<TAB>target: there is no tab")
    *sentence, stop, marker = ["", "", *source.split(" ")]
    if stop != "." or marker not in language.markers:
        raise ValueError(
            f"{where}: the source does not end with . {' or . '.join(language.markers)}"
        )
    return sentence[2:], marker


def _check_written(path: str, texts: Sequence[str], written: Sequence[str]) -> None:
    """Refuses lines that differ from what their sentence and marker determine."""
    for number, (text, expected) in enumerate(zip(texts, written, strict=True), 1):
        if text != expected:
            shown = expected.replace("\t", "<TAB>")
            raise ValueError(f"{path}:{number}: this line should be '{shown}'")
