"""Pastes a page's blocks, one after the other, in the current folder: a clean copy of the project.

`python -m tests.docs.paste PAGE` prints what they print. Python blocks of a page share a session,
as in a notebook; a bash block ends at its first command that fails. An output that stands under a
block on the page is compared with what was printed.
"""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import Block, blocks, same_figures, with_lines


def paste(block: Block, session: dict[str, object]) -> str:
    """Does what the page says with one block.

    Returns:
        What it printed.
    """
    if "file" in block.markers:
        Path(block.markers["file"]).write_text(block.text, "utf-8")
    elif "lines of" in block.markers:
        path = Path(block.markers["lines of"])
        path.write_text(with_lines(path.read_text("utf-8"), block.text), "utf-8")
    elif block.language == "bash":
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    elif block.language == "python":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.text, str(block), "exec"), session)
        return printed.getvalue()
    return ""


def paste_page(page: str) -> None:
    """Pastes all blocks of a page that are meant to be pasted.

    Raises:
        ValueError: A block prints something else than the page shows under it.
    """
    session: dict[str, object] = {}
    for block in blocks(Path(), page):
        if block.is_pasted:
            print(f"--- {block}", flush=True)
            printed = paste(block, session)
            print(printed, end="", flush=True)
            if block.output is not None and not same_figures(block.output, printed):
                raise ValueError(f"{block} shows\n{block.output}")


if __name__ == "__main__":
    paste_page(sys.argv[1])
