"""Reports as tests read them."""

import json
import re

from interp.pages import write_report
from interp.runs.run import Run


def only_page(runs, out):
    (page,) = (write_report(runs, out).parent / "runs").glob("*.html")
    return page.read_text("utf-8")


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.*")}


def rewritten(folder, old, new):
    file = folder / "experiment.toml"
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    return Run(folder)


def drawings(page):
    pattern = r'<script type="application/json" id="([^"]+)-data">(.*?)</script>'
    return {name: json.loads(data) for name, data in re.findall(pattern, page)}
