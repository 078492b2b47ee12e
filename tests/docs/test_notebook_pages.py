"""Notebooks are pages of the site, and are found from where one looks."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages():
    """The module that mkdocs is told to call; it is in no package."""
    path = ROOT / "docs" / "notebooks" / "pages.py"
    spec = importlib.util.spec_from_file_location("notebook_pages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_text_stays_text_and_code_becomes_code(pages):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "A *word*."]},
        {"cell_type": "code", "source": ["a = 1\n", "a"]},
    ]
    page = pages.as_markdown({"cells": cells}, "one.ipynb")
    assert page.startswith("# Title\n\nA *word*.\n\n")
    assert page.endswith("\n\n```python\na = 1\na\n```\n")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_says_how_to_open_its_notebook(pages, path):
    page = pages.as_markdown(json.loads(path.read_text("utf-8")), path.name)
    assert f".venv/bin/jupyter lab docs/notebooks/{path.name}" in page
    assert f'href="../{path.name}"' in page


def test_links_to_a_notebook_lead_to_its_page(pages):
    markdown = "A [notebook](notebooks/one.ipynb), and `one.ipynb`."
    assert pages.on_page_markdown(markdown, page=None, config=None, files=None) == (
        "A [notebook](notebooks/one.md), and `one.ipynb`."
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("file", "link"),
    [
        ("README.md", "](docs/notebooks/{}.ipynb)"),
        ("docs/index.md", "](notebooks/{}.ipynb)"),
        ("mkdocs.yml", ": notebooks/{}.md"),
    ],
)
def test_a_notebook_is_found_from_where_one_looks(path, file, link):
    assert link.format(path.stem) in (ROOT / file).read_text("utf-8")
