"""One page with all ladders of ``benchmarks.sensitivity``: score, label, and how often the clean image is preferred."""

import io

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from training.evaluation.plots import INK, MARK, SOFT, STYLE, WARM

COLUMNS = 7
GREEN = "#3b8f5a"
HEADS = {"distortion": "Distortions", "fault": "Faults (held-out implementations)", "change": "Everyday changes"}


def draw(content: dict) -> bytes:
    """Draw the file of ``benchmarks.sensitivity`` as PNG."""
    groups = {kind: [(n, p) for n, p in content["parts"].items() if p.get("kind") == kind] for kind in HEADS}
    groups = {kind: parts for kind, parts in groups.items() if parts}
    rows = {kind: -(-len(parts) // COLUMNS) for kind, parts in groups.items()}
    style = {**STYLE, "font.size": 7, "axes.titlesize": 7, "xtick.labelsize": 6, "ytick.labelsize": 6}
    with rc_context(style):
        figure = Figure(figsize=(15.5, 1.45 * sum(rows.values()) + 0.5 * len(rows) + 0.9), layout="constrained")
        top, *places = figure.subfigures(
            len(rows) + 1, 1, height_ratios=[0.55, *(1.45 * count + 0.4 for count in rows.values())]
        )
        _legend(top, content)
        for place, (kind, parts) in zip(places, groups.items()):
            place.suptitle(HEADS[kind], x=0.005, ha="left", fontsize=9)
            grid = place.subplots(rows[kind], COLUMNS, squeeze=False)
            for axes in grid.flat[len(parts) :]:
                axes.set_axis_off()
            for axes, (name, part) in zip(grid.flat, parts):
                _panel(axes, name, part)
        return png(figure, 100)


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG with a palette: a page of small panels takes a third of the bytes."""
    drawn, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _legend(place, content: dict) -> None:
    settings = content["settings"]
    place.suptitle(
        f"{settings['model']}: {settings['images']} clean photographs of {settings['short']} px, damaged in "
        "20 levels (means; no reference)",
        x=0.005, ha="left", fontsize=11,
    )  # fmt: skip
    lines = [
        Line2D([], [], color=MARK, label="score / 100"),
        Line2D([], [], color=WARM, label="probability of the label"),
        Line2D([], [], color=GREEN, linestyle=":", label="share of photographs of which the clean image is preferred"),
        Line2D([], [], color=INK, linewidth=0.8, label="just noticeable by compare (median)"),
    ]
    place.legend(handles=lines, loc="lower left", ncols=4, frameon=False, fontsize=8, bbox_to_anchor=(0, -0.05))


def _panel(axes: Axes, name: str, part: dict) -> None:
    values, change = part["values"], part["kind"] == "change"
    x = list(range(len(values) + 1)) if change else [0, *values]
    axes.plot(x, [score / 100 for score in part["score"]], color=MARK, linewidth=1.2)
    axes.plot(x, part["probability"], color=WARM, linewidth=1.2)
    axes.plot(x[1:], part["clean preferred"], color=GREEN, linewidth=1, linestyle=":")
    if (level := part["just noticeable by compare"]["level"]) is not None:
        axes.axvline(x[1 + values.index(level)], color=INK, linewidth=0.8)
    ticks = [0, 5, 10, 15, 20] if change and len(values) == 20 else [0, 1, 2, 3, 4, 5]
    labels = ["clean", *(f"{values[place - 1]:g}" for place in ticks[1:])] if change else [f"{tick}" for tick in ticks]
    axes.set_xticks([tick for tick in ticks if tick <= x[-1]], labels[: sum(tick <= x[-1] for tick in ticks)])
    axes.set(ylim=(-0.02, 1.02), yticks=(0, 0.5, 1), title=f"{name} → {part['label']}" if change else name)
    axes.grid(axis="y", color=SOFT, linewidth=0.4)
