"""A comparison as one HTML page: no scripts, no network, its figure inside."""

from aurelius.figures import new_figure, to_svg
from aurelius.reporting.compare import Comparison
from aurelius.reporting.environment import render


def page(comparison: Comparison) -> str:
    """Return the page."""
    pairs = list(zip(comparison.sides[1:], comparison.differences, strict=True))
    return render("compare.html.jinja", found=comparison, pairs=pairs, curves=_curves(comparison))


def _curves(comparison: Comparison) -> str:
    """Return the learning curves, one over the other, as SVG; nothing if no model has one."""
    models = [model for side in comparison.sides for model in side.models if model.curve]
    if not models:
        return ""
    with new_figure(7.5, 3.4) as figure:
        axes = figure.subplots()
        for model in models:
            axes.plot(*zip(*model.curve, strict=True), marker="o", markersize=3, label=model.name)
        axes.set(xlabel="tokens trained on", ylabel="held-out bits per byte")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend()
        ends = "; ".join(f"{model.name} ends at {model.curve[-1][1]:.4f}" for model in models)
        return to_svg(figure, "Learning curves", f"Held-out bits per byte during training. {ends}.")
