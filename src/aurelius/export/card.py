"""The model card: what a run measured and decided, as the page that is published with its model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from aurelius.config.recipe import Recipe
from aurelius.export.target import ONNX_DTYPES, ONNX_FILES
from aurelius.files import read_json
from aurelius.special_tokens import OURS, SpecialTokens

if TYPE_CHECKING:
    from aurelius.parity.check import Row

SHOWN = ("do_sample", "temperature", "min_p", "max_new_tokens")  # in the snippets
CURVE = 12  # points of the learning curve
LICENCES = {"roneneldan/TinyStories": "CDLA-Sharing-1.0"}  # of corpora, by their name on the hub
STORYTELLER = "made up by Aurelius's own storyteller, no third party's text"
UNSTATED = "licence not stated"


def card(
    recipe: Recipe,
    run: Path,
    sampling: dict[str, Any],
    special: SpecialTokens = OURS,
    rows: "Sequence[Row]" = (),
    files: Mapping[str, int] = {},
    repo: str = "",
    license: str = "",
) -> str:
    """Return the model card.

    Args:
        recipe: the run's.
        run: its folder, evaluated.
        sampling: the published ``generation_config.json``.
        special: the ids that its texts begin with.
        rows: how the runtimes did with the files published beside the weights.
        files: what is published, by name, with its size (bytes).
        repo: the model's name on the hub.
        license: of the weights, as the hub spells it.
    """
    report = read_json(run / "evaluation" / "report.json")
    corpus = read_json(run / "corpus" / "report.json")
    shape, figures, trained = recipe.model, report["documentwise"], report["trained"]
    sources = origin(recipe, corpus)
    settings = ", ".join(f"{name}={sampling[name]}" for name in SHOWN if name in sampling)
    prompt = report["samples"][0]["prompt"]
    values = {
        "metadata": metadata(recipe, report, list(sources), repo, license),
        "name": repo.split("/")[-1] or recipe.name,
        "path": json.dumps(repo or "."),
        "place": repo or ".",
        "context": shape.context,
        "parameters": f"{report['parameters']:,}",
        "shape": f"{shape.layers} layers, width {shape.d_model}, MLP {shape.d_mlp}, "
        f"{shape.heads} query heads, {shape.kv_heads} key/value heads, context {shape.context}, "
        f"vocabulary {recipe.tokenizer.vocab_size}",
        "made": "made with Aurelius" if trained["step"] else "made elsewhere, published with Aurelius",
        "seen": "corpus" if trained["step"] else "measured on",
        "sources": " and ".join(sources),
        "corpus": " and ".join(sources)
        + (f", {corpus['train']['stories']:,} training stories" if trained["step"] else "")
        + f"; {licences(sources)}",
        "training": training(recipe, trained),
        "begins": "its begin token" if special.lead == special.begin else "`<sink> <s>`",
        "bits_per_byte": f"{figures['bits_per_byte']:.4f} ± {figures['standard_error']:.4f}",
        "nats": f"{figures['nats_per_token']:.4f}",
        "packed": packed(report["packed"]),
        "documents": f"{figures['documents']:,}",
        "prompt": json.dumps(prompt),
        "spaced": json.dumps(prompt + " "),
        "begun": json.dumps(f"<s>{prompt} "),
        "samples": "\n\n".join("> " + sample["text"].replace("\n", "\n> ") for sample in report["samples"]),
        "sampling": settings,
        "javascript": f"do_sample: true, temperature: {sampling['temperature']}"
        if sampling["do_sample"]
        else "do_sample: false",
        "temperature": sampling.get("temperature", 0),
        "tokens_written": sampling["max_new_tokens"],
        "curve": curve(run / "training" / "metrics.jsonl"),
        "decisions": decisions(recipe),
    }
    values["tokenizer"] = "" if recipe.tokenizer.source else _filled("card-tokenizer.md", values)
    onnx = next((kind for kind in ONNX_DTYPES if f"onnx/{ONNX_FILES[kind]}.onnx" in files), "")
    ggufs = [name for name in files if name.endswith(".gguf")]
    parts = []
    if onnx:
        names = {"dtype": ONNX_DTYPES[onnx], "onnx": ONNX_FILES[onnx]}
        parts.append(_filled("card-onnx.md", values | names))
    if ggufs:
        small = next((name for name in ggufs if "-Q8_0" in name), ggufs[0])
        parts.append(_filled("card-gguf.md", values | {"gguf": small, "repo": repo}))
    if parts:
        parts.append(_filled("card-cost.md", {"table": table(rows, files)}))
    return _filled("card.md", values | {"runtimes": "".join(parts)})


def training(recipe: Recipe, trained: dict[str, Any]) -> str:
    """Say how long was trained, and from which weights."""
    if not trained["step"]:
        return "none here: the weights are as they were imported"
    start = "begun with imported weights; " if recipe.training.start else ""
    return (
        f"{start}{trained['step']:,} steps, {trained['tokens']:,} tokens ({trained['epoch']:.1f} epochs), "
        f"{trained['seconds'] / 60:.0f} minutes on {trained['device']}"
    )


def _filled(name: str, values: dict[str, Any]) -> str:
    template = Template((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return template.substitute(values)


def origin(recipe: Recipe, corpus: dict[str, Any]) -> dict[str, str]:
    """Return how a card names each source of the corpus, and under what licence its stories are.

    Args:
        recipe: the run's.
        corpus: the report of its corpus, which knows whether the stories came from Python instead.
    """
    source = recipe.corpus.source
    given = [source] if isinstance(source, str) else source
    if corpus["source"] == "given":
        given = ["stories given in Python"]
    known = {name: f"licence {licence}" for name, licence in LICENCES.items()} | {"storyteller": STORYTELLER}
    stated = f"licence {recipe.export.corpus_license}" if recipe.export.corpus_license else ""
    # A path is the author's own business.
    shown = {name: name if name.startswith("hf:") else Path(name).name for name in given}
    return {shown[name]: stated or known.get(_dataset(name) or name, UNSTATED) for name in given}


def licences(sources: Mapping[str, str]) -> str:
    """Write the licences of a corpus, source by source where they differ."""
    if len(set(sources.values())) == 1:
        return next(iter(sources.values()))
    return "; ".join(f"{name}: {licence}" for name, licence in sources.items())


def _dataset(source: str) -> str:
    """Return the name of a source's dataset on the hub; "" if it is not from there."""
    return "/".join(source[3:].split("/")[:2]) if source.startswith("hf:") else ""


def metadata(recipe: Recipe, report: dict[str, Any], sources: list[str], repo: str, license: str) -> str:
    """Return the card's YAML, results included (https://huggingface.co/docs/hub/model-cards)."""
    name = repo.split("/")[-1] or recipe.name
    hub = list(dict.fromkeys(filter(None, map(_dataset, sources))))
    figures = report["documentwise"]
    values = [(key, figures[key]) for key in ("bits_per_byte", "bits_per_byte_text", "nats_per_token")]
    results = {
        "task": {"type": "text-generation"},
        "dataset": {
            "type": hub[0] if hub else "stories",
            "name": f"held-out stories of {' and '.join(sources)}",
        },
        "metrics": [{"type": key, "name": key.replace("_", " "), "value": value} for key, value in values],
    }
    fields: dict[str, Any] = {
        "language": "en",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["llama", "tiny-language-model", "stories", "aurelius"],
    }
    fields |= {"license": license} if license else {}
    fields |= {"datasets": hub} if hub and report["trained"]["step"] else {}
    fields["model-index"] = [{"name": name, "results": [results]}]
    return yaml.safe_dump(fields, sort_keys=False).strip()


def packed(figures: dict[str, Any] | None) -> str:
    """Write the packed loss, where there was one."""
    if not figures:
        return "not measured: fewer held-out tokens than one block"
    plain, card_way = figures["nats_per_token"], figures["nats_per_token_with_begin"]
    return f"{plain:.4f} nats a token ({card_way:.4f} with `<s>` as a target)"


def curve(metrics: Path) -> str:
    """Return the learning curve, bits per byte on held-out blocks, as a table of a dozen points."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    points = [line for line in lines if "valid_bits_per_byte" in line]
    if not points:
        return "Not measured during this training."
    chosen = sorted({round(n * (len(points) - 1) / (CURVE - 1)) for n in range(CURVE)})
    rows = [f"| {points[n]['tokens']:,} | {points[n]['valid_bits_per_byte']:.4f} |" for n in chosen]
    return "\n".join(["| tokens | bits per byte |", "|---:|---:|", *rows])


def decisions(recipe: Recipe) -> str:
    """Return what was decided and why, for what this recipe says."""
    t = recipe.training
    if not t.steps:
        return "- Nothing: the model was imported."
    split = "parted from words" if recipe.tokenizer.split == "separate" else "left on words"
    optimizer = (
        f"Muon ({t.muon_learning_rate:g}, momentum {t.momentum:g}) for the matrices, AdamW "
        f"({t.learning_rate:g}) for the rest: a lower loss with the same tokens than AdamW alone"
        if t.optimizer == "muon"
        else f"AdamW ({t.learning_rate:g}) for all weights"
    )
    embedded = recipe.tokenizer.vocab_size * recipe.model.d_model
    sees = "its own story" if t.attention == "story" else "its whole block"
    found = [
        f"{t.story_start:.0%} of the blocks begin with a story, as every prompt does. A token sees {sees}.",
        f"Optimizer: {optimizer}.",
        f"Rate: up over {t.warmup:.0%} of the steps, then constant, down to {t.final_rate:.0%} of the peak "
        f"over the last {t.decay:.0%}. Weight decay {t.weight_decay:g}. {t.batch} blocks a step.",
        f"Embeddings and head are one matrix, {embedded / recipe.parameters:.0%} of all parameters.",
        f"Seed {t.seed}.",
    ]
    if not recipe.tokenizer.source:
        found[:0] = [
            f"Tokenizer: BPE of words with their trailing space, punctuation {split}; 256 byte tokens spell "
            "what the vocabulary lacks. The first token after a prompt then begins a word, as in training.",
            "Every block, and every text, begins with `<sink>`.",
        ]
    return "\n".join(f"- {text}" for text in found)


def table(rows: "Sequence[Row]", files: Mapping[str, int]) -> str:
    """Return what the files cost, each as its runtime measured it; those for which none was here say so."""
    lines = ["| file | MB | runtime | bits per byte | cost |", "|---|---:|---|---:|---:|"]
    for row in rows:
        if row.runtime != "numpy":
            lines.append(
                f"| `{row.path.name}` | {row.bytes / 1e6:.1f} | {row.runtime} {row.version} | "
                f"{row.bits_per_byte:.4f} | {row.cost:+.2%} |"
            )
    measured = {row.path.name for row in rows}
    for path, size in ((Path(name), size) for name, size in files.items()):
        if path.suffix in (".onnx", ".gguf") and path.name not in measured:
            lines.append(f"| `{path.name}` | {size / 1e6:.1f} | – | not measured | – |")
    return "\n".join(lines)
