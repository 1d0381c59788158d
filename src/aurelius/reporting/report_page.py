"""The report as one HTML page: no scripts, no network, every figure inside with its numbers below."""

import json
import re
from collections.abc import Mapping
from typing import Any

from aurelius.evaluation.scale import place
from aurelius.export.card import corpus_licences
from aurelius.export.learning_curve import points
from aurelius.files import read_json
from aurelius.pipeline import stages
from aurelius.pipeline.manifest import Manifest
from aurelius.pipeline.outlook import outlook
from aurelius.pipeline.run_folder import RunFolder
from aurelius.progress_bar import duration
from aurelius.reporting import report_figures as figures
from aurelius.reporting.environment import render
from aurelius.reporting.report import ON_PAGE
from aurelius.run_paths import RunPaths

MOST_BITS = 10  # of the strongest colour, as on the story page
KINDS = {
    "sentence": "the next sentence, out of five",
    "name": "the right name, out of five",
    "pronoun": "he or she",
}


def page(paths: RunPaths, found: Mapping[str, Any]) -> str:
    """Return the report of an evaluated run, given what the instruments found."""
    run = RunFolder(paths.folder)
    report, recipe, corpus = run.report, run.recipe, read_json(run.corpus_report)
    ahead, known_points = outlook(run), points(run.training)
    measured = report["documentwise"]
    bits = measured["bits_per_byte_text"]
    on_scale = ahead.writes is not None
    problems = {name: found[name]["problem"] for name in ON_PAGE if "problem" in found.get(name, {})}
    known = {name: None if name in problems else found.get(name) for name in ON_PAGE}
    return render(
        "report.html.jinja",
        name=recipe.name if recipe.name != "auto" else run.folder.resolve().name,
        run=str(run.folder),
        report=report,
        measured=measured,
        bits=bits,
        ahead=ahead,
        place=place(bits) if on_scale else None,
        scale=figures.scale(bits, "this model") if on_scale else "",
        curve=figures.learning_curve(known_points),
        points=known_points,
        spread=_spread(report),
        positions=report.get("by_position", []),
        by_position=_by_position(report),
        told=[_coloured(each) for each in found["surprise"]],
        found=known,
        problems=problems,
        kinds=KINDS,
        drawn=_drawn(known),
        corpus=corpus,
        sources=" and ".join(corpus_licences(recipe, corpus)),
        recipe=json.dumps(recipe.model_dump(), indent=2, ensure_ascii=False),
        shape=recipe.model,
        vocab_size=recipe.tokenizer.vocab_size,
        trained_for=duration(report["trained"]["seconds"]),
        seconds=_seconds(run),
        versions=_versions(run),
    )


def _spread(report: Mapping[str, Any]) -> str:
    values = report.get("by_story", [])
    if len(values) < 2:
        return ""
    return figures.histogram(values, title="Bits per byte of every story", x="bits per byte of a story")


def _by_position(report: Mapping[str, Any]) -> str:
    stretches = [each for each in report.get("by_position", []) if each["bits_per_byte"] is not None]
    if len(stretches) < 2:
        return ""
    return figures.curve(
        [each["first_token"] + 1 for each in stretches],
        [each["bits_per_byte"] for each in stretches],
        title="Bits per byte by position",
        x="position in the story, in tokens",
        y="bits per byte",
        logarithmic=True,
    )


def _drawn(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of the instruments that were used."""
    drawn = {}
    if pairs := found.get("pairs"):
        rows = {re.sub(r"[-_]+", " ", name): share for name, share in pairs["paradigms"].items()}
        drawn["pairs"] = figures.shares(rows, title="Minimal pairs", chance=0.5)
    if looked := found.get("bottleneck"):
        drawn["bottleneck"] = figures.spectrum(
            looked["head_singular_values"], looked["logits_singular_values"]
        )
    if looked := found.get("sinks"):
        drawn["sinks"] = figures.attention(looked["attention_by_layer_and_head"])
    return drawn


def _coloured(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return a text with the strength of each word's colour, in percent."""
    pieces = [
        {
            "text": piece.rstrip(),
            "space": piece[len(piece.rstrip()) :],
            "bits": bits,
            "strength": round(min(100, 100 * bits / MOST_BITS)),
            "given": number < text["given"],
        }
        for number, (piece, bits) in enumerate(text["pieces"])
    ]
    return {**text, "pieces": pieces}


def _seconds(run: RunPaths) -> dict[str, str]:
    """Return how long each stage took."""
    manifests = {each.name: Manifest.read(run.folder / each.folder) for each in stages.STAGES}
    return {name: duration(each.seconds) for name, each in manifests.items() if each}


def _versions(run: RunPaths) -> dict[str, str]:
    manifest = Manifest.read(run.training)
    return manifest.versions if manifest else {}
