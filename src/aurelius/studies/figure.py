"""The figure of a study: a row per arm, or curves over one field; seeds as dots, their mean as a line."""

from typing import TYPE_CHECKING, Any

import numpy as np

from aurelius.figures import COLOURS, new_figure, to_svg
from aurelius.studies.definition import arms_of
from aurelius.studies.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOGARITHMIC = 7.9  # ratio of the largest to the smallest value from which an axis is logarithmic
STYLES = ("-", "--", ":", "-.")


def draw(results: Results) -> str:
    """Return the figure as SVG, with a text alternative."""
    study = results.study
    arms = [arm for arm in arms_of(study) if results.of(arm)]
    height = 3.6 if study.x else 1.2 + 0.34 * len(arms)
    with new_figure(9.0 if study.x else 7.5, height) as figure:
        axes = figure.subplots()
        (_curves if study.x else _rows)(axes, results)
        axes.set_title(study.title, loc="left", fontweight="bold")
        told = "; ".join(f"{arm.name}: {np.mean(_values(results, arm.name)):.4f}" for arm in arms)
        return to_svg(figure, study.title, f"Bits per byte. {told}.")


def _rows(axes: "Axes", results: Results) -> None:
    names = [arm.name for arm in arms_of(results.study) if results.of(arm)]
    for row, name in enumerate(names):
        values = _values(results, name)
        colour = COLOURS[1] if name == results.baseline else COLOURS[0]
        axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.6, markersize=5)
        axes.plot(np.mean(values), row, "|", color=colour, markersize=16, markeredgewidth=2)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("bits per byte (lower is better); dots: seeds, bar: their mean")


def _curves(axes: "Axes", results: Results) -> None:
    """Draw a curve over the study's ``x`` for every combination of the other values.

    A listed arm has one colour, a point of the grid one style of line.
    """
    x = results.study.x
    curves: dict[tuple[str, str, str], list[tuple[Any, list[float]]]] = {}
    for arm in arms_of(results.study):
        if not (values := _values(results, arm.name)):
            continue
        others = ", ".join(f"{key}={value}" for key, value in arm.point.items() if key != x)
        curves.setdefault((arm.name_without(x), arm.listed, others), []).append((arm.changes[x], values))
    listed, points_of_grid = (list(dict.fromkeys(key[part] for key in curves)) for part in (1, 2))
    if len(listed) == 1:  # nothing is listed: the grid has the colours
        listed, points_of_grid = points_of_grid, listed
    for (label, arm, others), points in curves.items():
        arm, others = (arm, others) if arm in listed else (others, arm)
        colour = COLOURS[listed.index(arm) % len(COLOURS)]
        style = STYLES[points_of_grid.index(others) % len(STYLES)]
        points.sort(key=lambda point: point[0])
        for at, values in points:
            axes.plot([at] * len(values), values, "o", color=colour, alpha=0.5, markersize=4)
        means = [float(np.mean(values)) for _, values in points]
        axes.plot([at for at, _ in points], means, color=colour, linestyle=style, label=label or None)
    ticks = sorted({arm.changes[x] for arm in arms_of(results.study)})
    if (
        all(isinstance(tick, (int, float)) and tick > 0 for tick in ticks)
        and ticks[-1] > LOGARITHMIC * ticks[0]
    ):
        axes.set_xscale("log")
    if len(ticks) <= 8:
        axes.set_xticks(ticks, [f"{tick:,}" if isinstance(tick, int) else str(tick) for tick in ticks])
        axes.minorticks_off()
    if len(curves) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")
    axes.set(xlabel=x, ylabel="bits per byte (lower is better)")


def _values(results: Results, arm: str) -> list[float]:
    return [results.figure(record) for record in results.of(arm).values()]
