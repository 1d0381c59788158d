"""Tables in the terminal."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from aurelius.cli.chart import COLOURS as CURVE_COLOURS
from aurelius.cli.chart import line_chart
from aurelius.progress_bar import rate

if TYPE_CHECKING:
    from aurelius.evaluation.paired import Difference
    from aurelius.parity.compare import Comparison as Parity
    from aurelius.reporting.compare import Comparison
    from aurelius.studies.results import Results
    from aurelius.tokenizer.inspect import Inspection

COLOURS = ("blue", "magenta", "dark_green", "dark_red", "dark_cyan")  # of neighbouring tokens
SHOWN_TOKENS = 400


def inspection_table(inspection: "Inspection", model: str) -> Iterator[RenderableType]:
    """Yield what `tokenizer inspect` shows: the tokens in alternating colours, their ids, and figures."""
    text, ids = Text(), Text(style="dim")
    for number, (piece, id_) in enumerate(inspection.pieces[:SHOWN_TOKENS]):
        text.append(
            piece.replace(" ", "␣").replace("\n", "↵\n"), style=f"on {COLOURS[number % len(COLOURS)]}"
        )
        ids.append(f"{id_} ")
    yield text
    yield ids
    if len(inspection.pieces) > SHOWN_TOKENS:
        yield Text(
            f"(the first {SHOWN_TOKENS} of {len(inspection.pieces):,} tokens of the first story)", style="dim"
        )
    table = Table.grid(padding=(0, 2))
    table.add_row("tokenizer", f"{model}, {inspection.vocab_size:,} tokens")
    table.add_row("texts", f"{inspection.texts:,}, {inspection.bytes:,} bytes, {inspection.tokens:,} tokens")
    table.add_row("bytes per token", f"{inspection.bytes_per_token:.3f}")
    table.add_row("single bytes", f"{inspection.byte_tokens:,} tokens")
    table.add_row("longest", Text(" ".join(map(repr, inspection.longest))))
    table.add_row(
        "never used", Text(f"{len(inspection.unused):,}: " + " ".join(map(repr, inspection.unused[:20])))
    )
    yield table


def parity_table(comparisons: "Iterable[Parity]") -> Table:
    """Return what `export --check` shows, a line per runtime and file."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("runtime", "version", "file"):
        table.add_column(name)
    for name in ("MB", "same ids", "max logit difference", "bits/byte", "cost", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("greedy story")
    for row in comparisons:
        table.add_row(
            row.runtime,
            row.version,
            row.kind,
            f"{row.bytes / 1e6:.1f}",
            f"{row.ids[0]}/{row.ids[1]}" if row.ids else "-",
            f"{row.logits:.1e}",
            f"{row.bits_per_byte:.4f}",
            f"{row.cost:+.2%}",
            rate(row.tokens_per_second) if row.tokens_per_second else "-",
            Text(row.greedy or "-", style="red" if row.problems else ""),
        )
    return table


def study_table(results: "Results") -> Table:
    """Return what `study` shows: a line per arm, with its paired difference to the baseline."""
    from aurelius.studies.report import rows

    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("arm")
    for name in ("parameters", "tokens", "seeds", "bits per byte", f"difference to {results.baseline}", "p"):
        table.add_column(name, justify="right")
    for row in rows(results):
        spread = f" ± {row['deviation']:.4f}" if row["deviation"] is not None else ""
        difference = row["difference"]
        table.add_row(
            Text(row["arm"]),
            f"{row['parameters']:,}",
            f"{row['tokens']:,}",
            str(len(row["figures"])),
            f"{row['mean']:.4f}{spread}",
            *_difference_cells(difference),
        )
    return table


def comparison_tables(found: "Comparison", width: int) -> Iterator[RenderableType]:
    """Yield what `compare` shows: figures, differences, what differs in the recipes, learning curves."""
    yield f"on {found.documents}: {found.count:,} documents, {found.bytes:,} bytes"
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("model")
    for name in ("parameters", "tokens", "bits/byte, text alone", "bits/byte", "nats per token"):
        table.add_column(name, justify="right")
    for model in (model for side in found.sides for model in side.models):
        figures = model.scores.likelihood()
        table.add_row(
            Text(model.name),
            f"{model.parameters:,}",
            f"{model.trained_tokens:,}" if model.trained_tokens else "–",
            f"{figures.bits_per_byte_text:.4f}",
            f"{figures.bits_per_byte:.4f} ± {figures.standard_error:.4f}",
            f"{figures.nats_per_token:.4f}",
        )
    yield table
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("difference")
    for name in ("bits/byte, text alone [95 %]", "p", "seeds"):
        table.add_column(name, justify="right")
    for side, difference in zip(found.sides[1:], found.differences, strict=True):
        label = f"{side.name} minus {found.sides[0].name}"
        table.add_row(Text(label), *_difference_cells(difference), str(difference.seeds))
    yield table
    if changes := found.changes:
        table = Table(box=None, padding=(0, 1), header_style="bold")
        for name in ("recipe", *(side.name for side in found.sides)):
            table.add_column(Text(name))
        for key, values in changes.items():
            table.add_row(key, *(Text("–" if value is None else str(value)) for value in values))
        yield table
    models = [model for side in found.sides for model in side.models if model.curve]
    if models:
        legend = Text("held-out bits per byte by tokens trained on:")
        for number, model in enumerate(models):
            legend.append(f" {model.name}", style=CURVE_COLOURS[number % len(CURVE_COLOURS)])
        yield legend
        yield line_chart([model.curve for model in models], width, 8)
    for note in found.notes:
        yield f"note: {note}"


def _difference_cells(difference: "Difference | None") -> tuple[Text, str]:
    """Return a difference with its interval, bold if that leaves out 0, and its p-value."""
    if difference is None:
        return Text("–"), "–"
    return Text(difference.shown, style="bold" if difference.is_clear else ""), difference.shown_p
