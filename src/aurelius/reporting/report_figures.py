"""The figures of a report, each as SVG with a text alternative."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aurelius.evaluation.scale import KNOWN
from aurelius.figures import COLOURS, new_figure, to_svg

WIDTH = 8.6  # inches


def scale(bits_per_byte: float, name: str) -> str:
    """Place a model among those that are known."""
    with new_figure(WIDTH, 2.5) as figure:
        axes = figure.subplots()
        for number, known in enumerate(KNOWN):
            face = COLOURS[0] if known.measured else "white"
            axes.plot(known.bits_per_byte, 0, "o", color=COLOURS[0], markerfacecolor=face, markersize=7)
            above = number % 2 == 0
            axes.annotate(
                known.name,
                (known.bits_per_byte, 0),
                (0, 9 if above else -9),
                textcoords="offset points",
                rotation=25,
                ha="left" if above else "right",
                va="bottom" if above else "top",
                fontsize=8,
            )
        axes.plot(bits_per_byte, 0, "D", color=COLOURS[1], markersize=10, zorder=3)
        axes.annotate(
            name, (bits_per_byte, 0), (bits_per_byte, 1.6), ha="center", color=COLOURS[1], weight="bold",
            arrowprops={"arrowstyle": "-", "color": COLOURS[1]},
        )  # fmt: skip
        axes.set(
            xlabel="bits per byte on TinyStories: the farther right, the better", yticks=[], ylim=(-1, 1.9)
        )
        axes.invert_xaxis()
        axes.spines["left"].set_visible(False)
        told = "; ".join(f"{known.name} {known.bits_per_byte:.2f}" for known in KNOWN)
        return to_svg(figure, "Known models", f"{name}: {bits_per_byte:.3f} bits per byte. {told}.")


def learning_curve(points: Sequence[tuple[int, float]]) -> str:
    """Draw the held-out bits per byte during training; nothing if there are none."""
    if len(points) < 2:
        return ""
    return curve(
        *map(list, zip(*points, strict=True)),
        title="Learning curve",
        x="tokens trained on",
        y="bits per byte, held-out blocks",
    )


def curve(
    xs: Sequence[float], ys: Sequence[float], *, title: str, x: str, y: str, logarithmic: bool = False
) -> str:
    """Draw one curve."""
    with new_figure(WIDTH, 2.9) as figure:
        axes = figure.subplots()
        axes.plot(xs, ys, marker="o", markersize=3)
        axes.set(xlabel=x, ylabel=y)
        if logarithmic:
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(xs), [f"{value:g}" for value in xs])
            axes.minorticks_off()
        else:
            axes.xaxis.set_major_formatter("{x:,.0f}")
        return to_svg(
            figure, title, f"{y}: from {ys[0]:.3f} at {xs[0]:,} to {ys[-1]:.3f} at {xs[-1]:,} ({x})."
        )


def histogram(values: Sequence[float], *, title: str, x: str) -> str:
    """Draw how values are spread."""
    with new_figure(WIDTH, 2.4) as figure:
        axes = figure.subplots()
        axes.hist(values, bins=min(40, max(5, len(values) // 8)), color=COLOURS[0])
        axes.set(xlabel=x, ylabel="stories")
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        return to_svg(figure, title, f"Median {middle:.3f}; nine in ten between {low:.3f} and {high:.3f}.")


def shares(rows: Mapping[str, Mapping[str, Any]], *, title: str, chance: float) -> str:
    """Draw shares with their intervals, a row each, and what guessing would get."""
    with new_figure(WIDTH, 0.8 + 0.24 * len(rows)) as figure:
        axes = figure.subplots()
        for number, share in enumerate(rows.values()):
            axes.plot(
                [share["low"], share["high"]], [number, number], color=COLOURS[0], linewidth=2, alpha=0.5
            )
            axes.plot(share["share"], number, "o", color=COLOURS[0])
        axes.axvline(chance, color=COLOURS[1], linestyle="--", linewidth=1, label="guessing")
        axes.set(xlim=(0, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="share of right answers")
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower left", fontsize=8)
        told = "; ".join(f"{name} {share['share']:.0%}" for name, share in rows.items())
        return to_svg(figure, title, f"{told}.")


def spectrum(head: Sequence[float], logits: Sequence[float]) -> str:
    """Draw the singular values of head and logits, each as a share of its largest."""
    with new_figure(WIDTH, 2.9) as figure:
        axes = figure.subplots()
        for name, values in (("head", head), ("logits", logits)):
            axes.plot(np.arange(1, len(values) + 1), np.array(values) / values[0], label=name)
        axes.set(xlabel="singular value, by size", ylabel="share of the largest", yscale="log")
        axes.legend()
        least = head[-1] / head[0]
        text = f"{len(head)} singular values; the smallest of the head is {least:.1%} of its largest."
        return to_svg(figure, "Spectra of head and logits", text)


def attention(shares_of_heads: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Draw for each named position how much attention every head of every layer gives to it."""
    named = {name: np.array(rows) for name, rows in shares_of_heads.items() if name != "others"}
    layers, heads = next(iter(named.values())).shape
    most = max(0.3, *(values.max() for values in named.values()))
    with new_figure(WIDTH, 0.9 + 0.28 * layers) as figure:
        for axes, (name, values) in zip(
            figure.subplots(1, len(named), squeeze=False)[0], named.items(), strict=True
        ):
            image = axes.imshow(values, vmin=0, vmax=most, cmap="Blues", aspect="auto")
            axes.set_title(name, fontsize=10)
            axes.set_xticks(range(heads), [str(head + 1) for head in range(heads)])
            axes.set_yticks(range(layers), [str(layer + 1) for layer in range(layers)])
            axes.set(xlabel="head", ylabel="layer")
            axes.grid(visible=False)
        figure.colorbar(image, ax=figure.axes, label="share of attention")  # pyright: ignore
        told = "; ".join(f"{name} {values.mean():.0%} on average" for name, values in named.items())
        return to_svg(figure, "Attention to the first tokens", f"{told}.")
