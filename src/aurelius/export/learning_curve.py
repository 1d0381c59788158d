"""The learning curve on a model card: a picture, and its numbers."""

import io
from pathlib import Path

from aurelius.figures import new_figure
from aurelius.training.metrics import read_metrics

PICTURE = "learning_curve.png"
CURVE_POINTS = 12  # of the table


def points(training: Path) -> list[tuple[int, float]]:
    """Return the learning curve: tokens, and bits per byte on held-out blocks."""
    key = "valid_bits_per_byte"
    return [(line["tokens"], line[key]) for line in read_metrics(training) if key in line]


def picture(training: Path) -> bytes | None:
    """Draw the learning curve as PNG, which the hub shows in a card; None if nothing was measured."""
    if len(known := points(training)) < 2:
        return None
    out = io.BytesIO()
    with new_figure(7.5, 3.0) as figure:
        axes = figure.subplots()
        axes.plot(*zip(*known, strict=True), marker="o", markersize=3)
        axes.set(xlabel="tokens trained on", ylabel="bits per byte, held-out blocks")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()


def table(training: Path) -> str:
    """Return the learning curve as a table of a dozen points."""
    known = points(training)
    if not known:
        return "Not measured during this training."
    chosen = sorted({round(n * (len(known) - 1) / (CURVE_POINTS - 1)) for n in range(CURVE_POINTS)})
    rows = [f"| {known[n][0]:,} | {known[n][1]:.4f} |" for n in chosen]
    return "\n".join(["| tokens | bits per byte |", "|---:|---:|", *rows])
