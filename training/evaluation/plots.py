"""Plots of one kind of question: reliability, risk and coverage, accuracy by category and by severity; as SVG text."""

import io
import re
from typing import Any

from matplotlib import rc_context  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

INK, SOFT, MARK, WARM = "#1f2a37", "#c9d2dc", "#2f6fb3", "#d07a2d"
STYLE: dict[str, Any] = {  # matplotlib's own type names every key of its settings
    "svg.fonttype": "none",
    "svg.hashsalt": "depictqa",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def panels(name: str, result: dict) -> str | None:
    """One row of plots for the metrics of a kind (``scoring.score``), as an SVG element; None if there are none.

    Args:
        name: what makes the ids in the SVG differ from those of other plots on the page.
        result: the metrics of one kind.
    """
    wanted = [
        draw
        for key, draw in (
            ("reliability", _reliability),
            ("risk_coverage", _risk),
            ("by_category", _categories),
            ("by_severity", _severities),
        )
        if result.get(key)
    ]
    if not wanted:
        return None
    style: Any = {**STYLE, "svg.hashsalt": name}  # matplotlib has a type for its own names only
    with rc_context(style):
        figure = Figure(figsize=(3.3 * len(wanted), 2.9), layout="constrained")
        for axes, draw in zip(figure.subplots(1, len(wanted), squeeze=False)[0], wanted):
            draw(axes, result)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", text.getvalue(), flags=re.DOTALL)


def _reliability(axes, result: dict) -> None:
    found = result["reliability"]
    total = sum(b["count"] for b in found)
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
    axes.bar(
        [(b["low"] + b["high"]) / 2 for b in found],
        [b["count"] / total for b in found],
        width=0.09,
        color=SOFT,
        label="share of answers",
    )
    points = [b["confidence"] for b in found], [b["accuracy"] for b in found]
    axes.plot(*points, "o-", color=MARK, markersize=4, label="accuracy", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", title=f"Reliability (ECE {result['ece']:.3f})")
    axes.legend(frameon=False, loc="upper left", fontsize=8)


def _risk(axes, result: dict) -> None:
    coverage, risk = zip(*result["risk_coverage"])
    axes.plot((0, *coverage), (risk[0], *risk), color=MARK)
    axes.axhline(risk[-1], color=SOFT, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, max(0.05, 1.15 * max(risk))), xlabel="share of answers kept, most confident first")
    axes.set(ylabel="share wrong", title=f"Risk and coverage (AURC {result['aurc']:.3f})")


def _categories(axes, result: dict) -> None:
    groups = sorted(result["by_category"].items(), key=lambda item: item[1]["accuracy"])
    names = [f"{name} ({group['count']})" for name, group in groups]
    axes.barh(names, [group["accuracy"] for _, group in groups], color=MARK, height=0.7)
    axes.axvline(result["accuracy"], color=WARM, linewidth=1)
    if result.get("chance") is not None:
        axes.axvline(result["chance"], color=SOFT, linewidth=1, linestyle=":")
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.set(xlim=(0, 1), xlabel="accuracy (line: all, dotted: chance)", title="By category")


def _severities(axes, result: dict) -> None:
    groups = result["by_severity"]
    names = [f"{name}\n({group['count']})" for name, group in groups.items()]
    axes.bar(names, [group["accuracy"] for group in groups.values()], color=MARK, width=0.7)
    axes.axhline(result["accuracy"], color=WARM, linewidth=1)
    if result.get("chance") is not None:
        axes.axhline(result["chance"], color=SOFT, linewidth=1, linestyle=":")
    what = "severities apart" if "order_swap" in result else "severity"
    axes.set(ylim=(0, 1.02), xlabel=f"{what} (answers)", ylabel="accuracy", title="By severity")
