"""Notebooks as pages of the site: text as it is, code as code, without outputs.

mkdocs calls `on_files` and `on_page_markdown` (`hooks` in mkdocs.yml). A page is made from the
notebook's own JSON, so nothing runs and nothing more need be installed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # mkdocs is there where the site is built
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

OPEN = """
*The notebook without its outputs: <a href="../{name}" download>{name}</a>. To run it, in the
repository's root:*

```bash
make install
.venv/bin/pip install jupyterlab
.venv/bin/jupyter lab docs/notebooks/{name}
```
"""


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Adds a page beside each notebook."""
    from mkdocs.structure.files import File

    for uri in [file.src_uri for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(config.docs_dir) / uri
        content = as_markdown(json.loads(path.read_text(encoding="utf-8")), path.name)
        files.append(File.generated(config, f"{uri.removesuffix('.ipynb')}.md", content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to a notebook, which work in the repository, lead to its page."""
    return markdown.replace(".ipynb)", ".md)")


def as_markdown(notebook: Mapping[str, Any], name: str) -> str:
    """A notebook's cells, one after the other; how to open it stands below the first."""
    cells = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        cells.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    cells.insert(1, OPEN.format(name=name))
    return "\n\n".join(cells) + "\n"
