"""What the pages show to be pasted: fenced blocks, and markers that stand before them.

A marker is an HTML comment, which a reader of the page does not see. It says of the next block:

- `<!-- ci -->`: `.ci/run` runs these lines; nothing else does.
- `<!-- parsed: REASON -->`: takes too long, a GPU, a download or a file of one's own: never run.
- `<!-- file: PATH -->`: the block is the content of this file.
- `<!-- lines of: PATH -->`: lines of this file, those not yet there to be added.
- `<!-- needs: PAGE -->`: the block takes what that page's blocks make.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

LANGUAGES = ("python", "bash", "toml")
MARKER = re.compile(r"<!-- (ci|parsed|file|lines of|needs)(?:: ([^\n]+))? -->")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")  # without a sign, which is a word
PAGES = ("README.md", "CONTRIBUTING.md", "fixtures/README.md")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: Path of the page below the repository's root.
        line: Line of the page at which the block opens, from 1.
        language: What the fence names.
        text: The lines between the fences.
        markers: Value of each marker that stands before it, "" where it has none.
        output: The `text` block that follows it directly, as what it prints; None without one.
    """

    page: str
    line: int
    language: str
    text: str
    markers: dict[str, str]
    output: str | None = None

    @property
    def is_pasted(self) -> bool:
        """Whether pasting it is meant to work, in minutes."""
        return not {"ci", "parsed"} & set(self.markers)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages(root: Path) -> list[str]:
    """All pages whose blocks are checked, below `root`."""
    return [*PAGES, *sorted(str(path.relative_to(root)) for path in root.glob("docs/**/*.md"))]


def blocks(root: Path, page: str) -> list[Block]:
    """The blocks of a page that are code, in order."""
    return list(_read(page, (root / page).read_text("utf-8")))


def _read(page: str, text: str) -> Iterator[Block]:
    tokens = MarkdownIt().parse(text)
    markers: dict[str, str] = {}
    for index, token in enumerate(tokens):
        if token.type == "html_block":
            markers |= {name: value or "" for name, value in MARKER.findall(token.content)}
        elif token.type == "fence":
            assert token.map is not None
            if token.info in LANGUAGES:
                after = tokens[index + 1] if index + 1 < len(tokens) else token
                shown = after.content if (after.type, after.info) == ("fence", "text") else None
                yield Block(page, token.map[0] + 1, token.info, token.content, markers, shown)
            markers = {}


def needed_by(root: Path, page: str) -> list[str]:
    """The pages whose runs a page needs."""
    return sorted({b.markers["needs"] for b in blocks(root, page) if "needs" in b.markers})


def with_lines(file: str, added: str) -> str:
    """The file with the lines of `added` that it lacks, each after the line before it there."""
    lines = file.splitlines()
    wanted = [line for line in added.splitlines() if line.strip() not in ("", "# ...")]
    for index, line in enumerate(wanted):
        if line not in lines:
            before = lines.index(wanted[index - 1]) + 1 if index else lines.index(wanted[1])
            lines.insert(before, line)
    return "\n".join(lines) + "\n"


def same_figures(shown: str, printed: str) -> bool:
    """Whether two outputs have the same words, and numbers that differ by a last digit at most."""
    one, two = ([NUMBER.split(line) for line in text.split()] for text in (shown, printed))
    digits = [NUMBER.findall(text) for text in (shown, printed)]
    return one == two and all(map(_agree, *digits))


def _agree(shown: str, printed: str) -> bool:
    mantissa, _, exponent = shown.partition("e")
    digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(float(shown) - float(printed)) < 1.5 * digit
