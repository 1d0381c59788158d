"""A study's results as Markdown: question, a table with paired intervals, figure, and how to repeat it."""

from pathlib import Path
from typing import Any

import numpy as np

from aurelius.errors import suggest
from aurelius.evaluation.paired import Difference
from aurelius.files import write_bytes
from aurelius.studies.definition import HELD_OUT, MEASURES, arms_of
from aurelius.studies.figure import draw
from aurelius.studies.results import Results


def write_report(results: Results, path: Path) -> None:
    """Write the report and the figure next to the study's file at ``path``."""
    write_bytes(path.with_suffix(".svg"), draw(results).encode())
    write_bytes(path.with_suffix(".md"), markdown(results, path).encode())


def rows(results: Results) -> list[dict[str, Any]]:
    """Return a row per arm that has results: figures, their mean and spread, and the paired difference."""
    table = []
    for arm in arms_of(results.study):
        records = results.of(arm)
        if not records:
            continue
        figures = {seed: results.figure(record) for seed, record in records.items()}
        values = list(figures.values())
        first = next(iter(records.values()))
        table.append(
            {
                "arm": arm.name,
                "parameters": first.parameters,
                "tokens": round(float(np.mean([r.tokens for r in records.values()]))),
                "minutes": round(float(np.mean([r.seconds for r in records.values()])) / 60, 2),
                "figures": figures,
                "mean": round(float(np.mean(values)), 5),
                "deviation": round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None,
                "difference": None if arm.name == results.baseline else results.difference(arm.name),
            }
        )
    return table


def as_json(results: Results) -> dict[str, Any]:
    """Return the table for programs."""
    table = [
        row | {"difference": row["difference"].as_json() if row["difference"] else None}
        for row in rows(results)
    ]
    return {"study": results.study.title, "baseline": results.baseline, "arms": table}


def markdown(results: Results, path: Path) -> str:
    """Return the report of a study whose file is at ``path``."""
    study, table = results.study, rows(results)
    seeds = [seed for seed in study.seeds if any(seed in row["figures"] for row in table)]
    heads = ["arm", "parameters", "tokens", "minutes", *(f"seed {seed}" for seed in seeds)]
    heads += ["mean ± standard deviation"] * (len(seeds) > 1)
    heads += [f"difference to {results.baseline} [95 %]", "p"]
    lines = [f"| {' | '.join(map(_cell, heads))} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in table:
        cells = [row["arm"], f"{row['parameters']:,}", f"{row['tokens']:,}", f"{row['minutes']:.1f}"]
        cells += [f"{row['figures'][seed]:.4f}" if seed in row["figures"] else "–" for seed in seeds]
        if len(seeds) > 1:
            spread = f" ± {row['deviation']:.4f}" if row["deviation"] is not None else ""
            cells.append(f"{row['mean']:.4f}{spread}")
        cells += _difference(row["difference"])
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    figure = path.with_suffix(".svg").name
    parts = [f"# {study.title}", study.question, "\n".join(lines), _figures(results), _coverage(table)]
    parts += [f"![{_alternative(table)}]({figure})", _method(results, path)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(results: Results) -> str:
    """Return a table of what the instruments found: a row per figure, a column per arm."""
    if not results.study.figures:
        return ""
    arms = [arm.name for arm in arms_of(results.study) if results.of(arm)]
    lines = [f"| {' | '.join(map(_cell, ['', *arms]))} |", "|---" + "|---:" * len(arms) + "|"]
    for figure in results.study.figures:
        cells = [f"`{figure}`"]
        for arm in arms:
            values = [record.figures.get(figure) for record in results.of(arm).values()]
            values = [value for value in values if value is not None]
            difference = results.figure_difference(arm, figure) if arm != results.baseline else None
            mean = f"{np.mean(values):.4g}" if values else "–"
            cells.append(f"{mean} ({difference.shown_as('.3g')})" if difference else mean)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join([*lines, "", "The intervals of these figures cover other seeds, on the same documents."])


def _difference(difference: Difference | None) -> list[str]:
    return [difference.shown, difference.shown_p] if difference else ["–", "–"]


def _coverage(table: list[dict[str, Any]]) -> str:
    """Say what the intervals cover."""
    seeds = {row["difference"].seeds for row in table if row["difference"]}
    if not seeds:
        return ""
    if max(seeds) == 1:
        return (
            "One seed: the intervals cover other documents, but not another training with another seed, "
            "which may differ by more."
        )
    least = min(seeds)
    return (
        f"The intervals cover other seeds and other documents. With {least} seeds no p-value can be below "
        f"{2 / 2**least:.3g}."
    )


def _alternative(table: list[dict[str, Any]]) -> str:
    """Say in words what the figure shows."""
    ranked = sorted(table, key=lambda row: row["mean"])
    return "Bits per byte, best first: " + ", ".join(f"{row['arm']} {row['mean']:.4f}" for row in ranked)


def _method(results: Results, path: Path) -> str:
    study, documents = results.study, results.documents
    where = sorted({f"{r.device}, torch {r.versions['torch']}" for r in results.records})
    threads = ", ".join(map(str, sorted({r.threads for r in results.records})))
    budget = (
        f"{study.tokens:,} tokens" if study.tokens else f"{study.minutes:g} minutes" * bool(study.minutes)
    )
    size = f"{len(documents.sizes):,} documents, {sum(documents.sizes):,} bytes" if documents else "unknown"
    name = "the held-out stories" if study.documents == HELD_OUT else study.documents
    lines = [
        f"- measured: {MEASURES[study.measure]}, on {name} ({size}); below 0 is better than the baseline",
        f"- recipe: `{study.recipe}`" + (f", {budget} per training" if budget else ""),
        f"- ran on: {'; '.join(where)}; CPU threads per training: {threads}",
        f"- command: `{suggest('study', path.with_suffix('.toml').name)}`",
    ]
    return "\n".join(lines)


def _cell(text: object) -> str:
    """Return text as Markdown shows it in a cell; what is code already is left as it is."""
    shown = str(text).replace("|", "\\|").replace("\n", " ")
    return shown if shown.startswith("`") else shown.replace("<", "&lt;")
