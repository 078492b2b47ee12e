"""Draws the pictures of README and docs from saved results.

    .venv/bin/python docs/images/make.py              # modular-addition.png, from the fixture
    .venv/bin/python docs/images/make.py runs/mini    # parity-map.png, from that sweep's PhaseMap

modular-addition.png: above, accuracy with the phases that `GrokkingPhases` finds; below, the share
of the logits that cos w(a+b-c) explains at each key frequency, from the untrained model on.
parity-map.png: every run of `interp sweep parity-decay-mini --out runs/mini`, analysed by
`interp analyze runs/mini --only PhaseMap`. Figures come from `analyses`; a headless Chromium
(`chromium` on the PATH) takes the picture at twice the size.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import interp
from analyses import FourierCircuit, GrokkingPhases, PhaseMap, plots
from interp.runs.results import saved
from interp.runs.run import Run
from interp.sweeps.sweep import find_sweep

HERE = Path(__file__).parent
WIDTH, HEIGHTS, NOTE = 1000, (320, 350), 34
PHASES = (("memorisation", "#dfe7ed"), ("circuit formation", "#f4f7f9"), ("cleanup", "#e8eef2"))
TEXT = {"showarrow": False, "font": {"size": 12, "color": "#333"}}
PAGE = """<!doctype html>
<meta charset="utf-8">
<style>body {{ margin: 0; width: {width}px; font: 13px "Open Sans", verdana, arial, sans-serif }}
p {{ margin: 0; padding: 6px 20px 0 78px; color: #56636e }}</style>
<div id="figures"></div><p>{note}</p>
<script>{script}</script>
<script>
for (const figure of {figures}) {{
  const node = document.getElementById("figures").appendChild(document.createElement("div"));
  Plotly.newPlot(node, figure.data, figure.layout, {{staticPlot: true}});
}}
</script>
"""


def accuracy(run: Run) -> plots.Figure:
    """Accuracy of both splits, with the names of the phases over the stretches they cover."""
    found = GrokkingPhases.measure(run)
    delay = (
        f"training pairs are known at step {found.t_train:.0f}, unseen ones at {found.t_test:.0f}"
    )
    figure = plots.lines(
        found.steps, {"train": 100 * found.accuracy[0], "test": 100 * found.accuracy[1]},
        title=f"One layer learns a + b mod 53: {delay}", axes=("", "accuracy (%)"),
    )  # fmt: skip
    stretches = zip(PHASES, (0, *found.phases), found.phases, strict=False)
    for (name, colour), start, stop in stretches:
        figure.add_vrect(x0=start, x1=stop, fillcolor=colour, line_width=0, layer="below")
        figure.add_annotation(
            x=(start + stop) / 2, y=1.0, yref="paper", yanchor="bottom", text=name, **TEXT
        )
    return figure


def explained(run: Run) -> plots.Figure:
    """Share of the logits that the waves explain at every kept step: together, and one by one."""
    folder = next(each for each in saved(run) if each.cls is FourierCircuit)
    results = [folder.load(step) for step in folder.steps]
    keys = sorted(results[-1].keys)
    curves = {"together": [100 * each.key_fve for each in results]}
    for key in keys:
        curves[f"frequency {key}"] = [100 * each.logit_fve[key - 1] for each in results]
    together = curves["together"]
    figure = plots.lines(
        folder.steps, curves, axes=("step (updates)", "logits explained (%)"),
        title=f"cos w(a + b - c) at {len(keys)} of {len(results[-1].logit_fve)} frequencies "
        f"explains {together[-1]:.0f} % of its logits",
    ).update_traces(mode="lines+markers", marker_size=5)  # fmt: skip
    return figure.add_annotation(
        x=0, y=together[0], ax=18, ay=-82, xanchor="left", arrowcolor="#767676", arrowwidth=1,
        standoff=4, text=f"untrained model: {together[0]:.1f} %", **TEXT | {"showarrow": True},
    )  # fmt: skip


def draw(figures: Sequence[plots.Figure], note: str, out: Path) -> None:
    """Writes a page of figures, one below the other, and takes its picture."""
    data = [plots.as_data(figure) for figure in figures]
    height = sum(each["layout"]["height"] for each in data) + NOTE
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        script = plots.plotly_script()
        page.write_text(
            PAGE.format(width=WIDTH, note=note, script=script, figures=json.dumps(data)), "utf-8"
        )
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", f"--user-data-dir={folder}/profile",
             "--force-device-scale-factor=2", "--virtual-time-budget=5000", "--hide-scrollbars",
             f"--window-size={WIDTH},{height}", f"--screenshot={out}", page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


def modular_addition() -> None:
    """Reads the fixture, draws, writes the picture."""
    run = interp.load(HERE.parents[1] / "fixtures" / "modular-addition")
    last = run.steps[-1]
    figures = [accuracy(run), explained(run)]
    for figure, height in zip(figures, HEIGHTS, strict=True):
        figure.update_layout(
            width=WIDTH, height=height, margin={"l": 78, "r": 24, "t": 72, "b": 44}
        )
        figure.update_layout(title={"y": 0.96, "yanchor": "top", "font_size": 18})
        figure.update_xaxes(range=[0, last + 10], dtick=100).update_yaxes(range=[-4, 104], dtick=25)
    note = "fixtures/modular-addition, seed 0; drawn by docs/images/make.py"
    draw(figures, note, HERE / "modular-addition.png")


def parity_map(path: str) -> None:
    """Reads a sweep's saved map, draws, writes the picture."""
    sweep = find_sweep(path)
    found = [] if sweep is None else [each for each in saved(sweep) if each.cls is PhaseMap]
    if sweep is None or not found:
        raise SystemExit(f"{path} holds no map: interp analyze {path} --only PhaseMap")
    (figure,) = [found[0].load().figures()["map"]]
    figure.update_layout(width=WIDTH)
    note = f"interp sweep {sweep.sweep.name}, every run; drawn by docs/images/make.py"
    draw([figure], note, HERE / "parity-map.png")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        parity_map(sys.argv[1])
    else:
        modular_addition()
