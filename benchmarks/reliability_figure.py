"""One page of ``benchmarks.reliability``: what is stated against what is true, and risk against coverage."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from training.evaluation.plots import MARK, SOFT, STYLE, WARM

from .sensitivity_figure import png

COLUMNS = 7
COLORS = {"before": WARM, "after": MARK}
LEAST = 30
"""Fewest answers for a panel of its own: with fewer the points are chance."""


def panels(content: dict) -> list[tuple[str, dict]]:
    """(title, part) of the parts with enough answers."""
    return [
        (f"{key.partition('/')[0]}: {name}\n{key.rpartition(', ')[2]}, {part['count']} answers", part)
        for key, parts in content["parts"].items()
        for name, part in parts.items()
        if part["count"] >= LEAST
    ]


def draw(content: dict) -> bytes:
    """Draw the file of ``benchmarks.reliability`` as PNG."""
    found = panels(content)
    rows = max(1, -(-len(found) // COLUMNS))
    style = {**STYLE, "font.size": 7, "axes.titlesize": 6, "xtick.labelsize": 6, "ytick.labelsize": 6}
    with rc_context(style):
        figure = Figure(figsize=(15.5, 4.2 * rows + 0.6), layout="constrained")
        figure.suptitle(
            f"{content['settings']['model']}: stated probability against truth (above), error rate against share of "
            "answers kept (below)", x=0.005, ha="left", fontsize=11,
        )  # fmt: skip
        grid = figure.subplots(2 * rows, COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, (title, part) in enumerate(found):
            row, column = 2 * (number // COLUMNS), number % COLUMNS
            _reliability(grid[row][column], title, part)
            _risk(grid[row + 1][column], part)
        lines = [Line2D([], [], color=color, label=f"{when} calibration") for when, color in COLORS.items()]
        figure.legend(handles=lines, loc="outside lower left", ncols=2, frameon=False, fontsize=8)
        return png(figure, 80)


def _reliability(axes: Axes, title: str, part: dict) -> None:
    axes.set_axis_on()
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
    for when, color in COLORS.items():
        bins = part[when]["reliability"]
        total = sum(one["count"] for one in bins)
        x, y = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        axes.plot(x, y, color=color, linewidth=1, alpha=0.8)
        axes.scatter(x, y, [4 + 60 * one["count"] / total for one in bins], color=color, clip_on=False)
    before, after = part["before"], part["after"]
    errors = f"ECE {before['ece']:.3f} → {after['ece']:.3f} (chance {after['ece by chance']:.3f})"
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="stated", ylabel="true", title=f"{title}\n{errors}")


def _risk(axes: Axes, part: dict) -> None:
    axes.set_axis_on()
    top = 0.05
    for when, color in COLORS.items():
        coverage, risk = zip(*part[when]["risk coverage"])
        axes.plot((0, *coverage), (risk[0], *risk), color=color, linewidth=1)
        top = max(top, 1.15 * max(risk))
    axes.axhline(part["after"]["risk coverage"][-1][1], color=SOFT, linewidth=1)
    areas = f"AURC {part['before']['aurc']:.3f} → {part['after']['aurc']:.3f}"
    axes.set(xlim=(0, 1), ylim=(0, top), xlabel="share kept, most confident first", ylabel="share wrong", title=areas)
