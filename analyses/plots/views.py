"""Attention and tokens as values that CircuitsVis draws offline, in a notebook and in a page.

CircuitsVis' own output fetches its script when it is looked at, draws one figure a page, and puts
token text into the page as markup, so that `<bos>` vanishes. Here the script comes from the
installed package, once a page; every view has its own element; token text stays text.
"""

import html
import json
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Components that insert token text as markup, and those that draw it.
RAW_HTML = (
    "AttentionPatterns",
    "ColoredTokens",
    "ColoredTokensMulti",
    "TextNeuronActivations",
    "TokenLogProbs",
    "TopkSamples",
    "TopkTokens",
)
CANVAS = ("AttentionHeads", "AttentionPattern")
PICTURE = "Picture"  # ours: an image, for what CircuitsVis would draw too slowly
ADDING_NETWORK = "AddingNetwork"  # ours: a network that a reader tries
OWN = {ADDING_NETWORK: "adding_network.js"}  # our scripts, by component
TOKEN_PROPS = ("tokens", "prompt", "topKTokens")
VISIBLE = str.maketrans({"\n": "↵", "\r": "␍", "\t": "⇥"})
SIGNIFICANT_DIGITS = 4

HEAD_BYTES = 2000  # bytes at the start of a page that hold the mark of its writer
MARK = '<meta name="generator" content="interp show">'
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{mark}
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{sections}
<script>{bundle}</script>
<script>
{mounts}
{resize}
</script>
</body>
</html>
"""
SECTION = """<section>
<h2>{title}</h2>
{element}
<p>{caption}</p>
</section>"""
# White in a dark notebook too: CircuitsVis writes black text on what is behind it.
STYLE = """
html { color-scheme: light; background: white; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b2630; margin: 0 auto; max-width: 60rem;
  padding: 0.5rem 1rem; }
section { margin-bottom: 2rem; }
h2 { font-size: 1.1rem; margin: 0 0 0.75rem; } .view h3 { font-size: 0.9rem; font-weight: 500; }
p { color: #56636e; margin: 0.75rem 0 0; max-width: 44rem; }
.view { position: relative; overflow-x: auto; max-width: 46rem; }
.adding-network label { margin-right: 1rem; white-space: nowrap; }
.adding-network .charts { display: flex; gap: 1rem; }
.adding-network .bar { fill: #4fa3d1; } .adding-network .marked { fill: #d95f02; }
.view [style*="1px solid black"] { border-color: #e3e8ec !important; background: none !important; }
.picture { width: 100%; height: auto; max-width: 60rem; image-rendering: pixelated; }
@media print { section { break-inside: avoid; } }
"""
# Inside a notebook the page is in a frame, whose height the page must set.
RESIZE = """new ResizeObserver(function () {
  try {
    if (window.frameElement) window.frameElement.style.height = document.body.scrollHeight + "px";
  } catch (error) { /* a sandboxed frame keeps its height */ }
}).observe(document.body);"""


@dataclass(frozen=True, eq=False)
class View:
    """One CircuitsVis component and its props.

    Attributes:
        component: Its name in the CircuitsVis bundle (1.43): `AttentionHeads`, `ColoredTokens`; or
            one of ours: `Picture`, an image, or one of `OWN`.
        props: What it draws, camelCase, plain lists, numbers and strings; tokens unescaped.
        title: What is seen.
        caption: How to read it.
    """

    component: str
    props: Mapping[str, Any] = field(repr=False)
    title: str
    caption: str = ""

    def _repr_html_(self) -> str:
        return Page((self,))._repr_html_()


@dataclass(frozen=True, eq=False)
class Page:
    """Views on one page that needs nothing else, in a notebook or in a file.

    Attributes:
        views: From top to bottom.
    """

    views: tuple[View, ...]

    def html(self) -> str:
        """The whole page.

        Raises:
            ValueError: A view's component is unknown, or a number of its props is not finite.
            FileNotFoundError: The CircuitsVis bundle is not installed.
        """
        placed = {f"view-{index}": view for index, view in enumerate(self.views, start=1)}
        sections = [
            SECTION.format(
                title=html.escape(view.title),
                element=element(view, name),
                caption=html.escape(view.caption),
            )
            for name, view in placed.items()
        ]
        return PAGE.format(
            title=html.escape(self.views[0].title if self.views else "No views"),
            mark=MARK,
            style=STYLE,
            sections="\n".join(sections),
            bundle="</script><script>".join(scripts({view.component for view in self.views})),
            mounts="\n".join(filter(None, (mount(view, name) for name, view in placed.items()))),
            resize=RESIZE,
        )

    def save(self, path: str | Path) -> Path:
        """Writes the page to a file that opens without a network; an earlier page is replaced.

        Raises:
            ValueError: The file is something else than such a page.
        """
        path = Path(path)
        if path.is_symlink() or (path.exists() and not head_holds(path, MARK)):
            raise ValueError(
                f"{path} is something else than a page of views; choose another file, or delete it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.html().encode())
        return path

    def _repr_html_(self) -> str:
        content = html.escape(self.html())
        return (
            f'<iframe srcdoc="{content}" style="width: 100%; height: 30rem; border: 0" '
            'title="CircuitsVis"></iframe>'
        )


def head_holds(page: Path, mark: str) -> bool:
    """Whether a page exists and has the mark of its writer at its start."""
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return mark.encode() in file.read(HEAD_BYTES)


def scripts(components: Set[str]) -> list[str]:
    """The scripts that draw some components, each fit to stand inside a script element."""
    return [
        *(own_script(name) for name in OWN if name in components),
        *([bundle()] if components - {PICTURE, *OWN} else []),
    ]


def own_script(component: str) -> str:
    """Our script that draws a component."""
    return (Path(__file__).parents[1] / "neurons" / OWN[component]).read_text("utf-8")


def bundle() -> str:
    """CircuitsVis' script, fit to stand inside a script element.

    Raises:
        FileNotFoundError: The package or its bundle is not installed.
    """
    spec = find_spec("circuitsvis")
    folders = spec.submodule_search_locations if spec else None
    files = [Path(folder) / "dist" / "cdn" / "iife.js" for folder in folders or ()]
    installed = next(filter(Path.is_file, files), None)
    if installed is None:
        raise FileNotFoundError(
            "CircuitsVis' bundle dist/cdn/iife.js is missing: pip install 'circuitsvis==1.43.*'"
        )
    lines = installed.read_text(encoding="utf-8").splitlines(keepends=True)
    script = "".join(line for line in lines if not line.startswith("//# sourceMappingURL="))
    return script.replace("</script", "<\\/script")


def element(view: View, identifier: str) -> str:
    """What stands in a page where a view is drawn: an empty element, or the view's picture."""
    name = html.escape(identifier)
    if view.component != PICTURE:
        return f'<div class="view" id="{name}"></div>'
    props = view_data(view)["props"]
    size = f'width="{int(props["width"])}" height="{int(props["height"])}"'
    source, alt = html.escape(str(props["source"])), html.escape(view.title)
    return f'<img class="picture" id="{name}" src="{source}" {size} alt="{alt}">'


def mount(view: View, identifier: str) -> str:
    """The script line that draws a view into the element with an id; the bundle comes before.

    A picture needs none.
    """
    drawing = view_data(view)
    if view.component == PICTURE:
        return ""
    name, props = script_json(identifier), script_json(drawing["props"])
    if view.component in OWN:
        return f"InterpViews.{view.component}(document.getElementById({name}), {props});"
    return f"CircuitsVis.render({name}, CircuitsVis.{view.component}, {props});"


def view_data(view: View) -> dict[str, Any]:
    """What draws a view: its component, and its props as CircuitsVis must be given them.

    Numbers have four significant digits. Newlines and tabs in tokens are visible marks. Token text
    is escaped for those components that would insert it as markup.

    Raises:
        ValueError: The component is unknown, or a number is not finite.
        TypeError: Something in the props is no number, text, list or table.
    """
    if view.component not in (*RAW_HTML, *CANVAS, PICTURE, *OWN):
        raise ValueError(
            f"component: CircuitsVis has no '{view.component}'; it has "
            f"{', '.join(sorted(RAW_HTML + CANVAS))}"
        )
    is_raw = view.component in RAW_HTML
    props = {
        name: _plain(value, f"props.{name} of view '{view.title}'")
        for name, value in view.props.items()
    }
    tokens = {name: _readable(props[name], is_raw) for name in TOKEN_PROPS if name in props}
    return {"component": view.component, "props": props | tokens}


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element, whatever its strings say."""
    # json writes ASCII, so that U+2028 and U+2029, which would end a line, cannot come.
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _plain(value: Any, place: str) -> Any:
    """Lists, tables, text and rounded numbers, as JSON has them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} holds {value}, which CircuitsVis cannot draw; mask it first")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, place) for item in value]
    raise TypeError(f"{place} holds a {type(value).__name__}; give numbers, text, lists or tables")


def _readable(tokens: Any, is_raw: bool) -> Any:
    """Token text, however deeply listed, as the component will show it."""
    if isinstance(tokens, list):
        return [_readable(token, is_raw) for token in tokens]
    text = str(tokens).translate(VISIBLE)
    return html.escape(text, quote=False) if is_raw else text
