"""The model card: what a run measured and decided, as the page that is published with its model."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCardData
from tokenizers import Tokenizer

from aurelius.config.recipe import Recipe
from aurelius.corpus.likeness import LOOKED_AT, on_scale
from aurelius.data.stories import StoryFile
from aurelius.evaluation import scale
from aurelius.export import spm
from aurelius.export.learning_curve import PICTURE, points, table
from aurelius.export.registry import targets
from aurelius.export.render import render
from aurelius.files import read_json
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import OURS, SpecialTokens
from aurelius.tokenizer import load as tokenizers

if TYPE_CHECKING:
    from aurelius.parity.compare import Comparison

IN_SNIPPETS = ("do_sample", "temperature", "min_p")
LICENCES = {"roneneldan/TinyStories": "CDLA-Sharing-1.0"}  # of corpora, by their name on the hub
STORYTELLER = "made up by Aurelius's own storyteller, no third-party text"
SINK = (
    "Every text begins with `<sink> <s>`, which the tokenizer adds: `<sink>` is an empty token for attention "
    "heads that find nothing else to attend to."
)
UNSTATED = "licence not stated"


def card(
    recipe: Recipe,
    run: Path,
    sampling: dict[str, Any],
    special: SpecialTokens = OURS,
    comparisons: "Sequence[Comparison]" = (),
    files: Mapping[str, int] = {},
    repo: str = "",
    license: str = "",
) -> str:
    """Return the model card.

    Args:
        recipe: the run's recipe.
        run: the run folder, evaluated.
        sampling: the published ``generation_config.json``.
        special: the ids that its texts begin with.
        comparisons: how the runtimes compare with the model on the files published with the weights.
        files: what is published, by name, with sizes (bytes).
        repo: the model's name on the hub.
        license: of the weights, in the hub's spelling.
    """
    paths = RunPaths(run)
    report, corpus = read_json(paths.report_file), read_json(paths.corpus_report)
    shape, figures, trained = recipe.model, report["documentwise"], report["trained"]
    licence_of = corpus_licences(recipe, corpus)
    prompt = report["samples"][0]["prompt"]
    values = {
        "metadata": metadata(recipe, report, list(licence_of), repo, license),
        "name": repo.split("/")[-1] or recipe.name,
        "path": json.dumps(repo or "."),
        "location": repo or ".",
        "context": shape.context,
        "parameters": f"{report['parameters']:,}",
        "shape": f"{shape.layers} layers, width {shape.d_model}, MLP {shape.d_mlp}, "
        f"{shape.heads} query heads, {shape.kv_heads} key/value heads, context {shape.context}, "
        f"vocabulary {recipe.tokenizer.vocab_size}",
        "made": "made with Aurelius" if trained["step"] else "made elsewhere, published with Aurelius",
        "corpus_label": "corpus" if trained["step"] else "measured on",
        "sources": " and ".join(licence_of),
        "corpus": " and ".join(licence_of)
        + (f", {corpus['train']['stories']:,} training stories" if trained["step"] else "")
        + f"; {in_words(licence_of)}",
        "training": training(recipe, trained),
        "prefix": "`<sink> <s>`" if len(special.prefix) == 2 else "its begin token",
        "bits_per_byte": f"{figures['bits_per_byte']:.4f} ± {figures['standard_error']:.4f}",
        "nats": f"{figures['nats_per_token']:.4f}",
        "packed": packed(report["packed"]),
        "documents": f"{figures['documents']:,}",
        "prompt": json.dumps(prompt),
        "prompt_with_space": json.dumps(prompt + " "),
        "prompt_for_completion": json.dumps(f"<s>{prompt} "),
        "samples": "\n\n".join(quoted(sample["text"]) for sample in report["samples"]),
        "sampling": ", ".join(f"{name}={sampling[name]}" for name in IN_SNIPPETS if name in sampling),
        "javascript_sampling": f"do_sample: true, temperature: {sampling['temperature']}"
        if sampling["do_sample"]
        else "do_sample: false",
        "temperature": sampling.get("temperature", 0),
        "max_new_tokens": recipe.generation.max_new_tokens or shape.context * 3 // 4,  # the prompt needs room
        "conversion": conversion(tokenizers.load(paths.tokenizer_file)),
        "curve": table(paths.training),
        "picture": PICTURE if len(points(paths.training)) > 1 else "",
        "story": quoted(report["samples"][:2][-1]["text"]),
        "quality": quality(paths, figures),
        "sink": SINK if len(special.prefix) == 2 else "",
        "decisions": decisions(recipe),
    }
    # Without an unknown token, the end token pads, and fine-tuning masks it.
    values["fine_tuning"] = "" if special.unknown is None else render("card-fine-tuning.md.jinja", values)
    values["tokenizer"] = "" if recipe.tokenizer.source else render("card-tokenizer.md.jinja", values)
    sections = []
    for target in targets():
        published = [name for name in files if target.published_as(PurePosixPath(name).name) == name]
        if published:
            sections.append(target.card_section(values, published))
    if sections:
        sections.append(render("card-cost.md.jinja", {"table": cost_table(comparisons, files)}))
    return render("card.md.jinja", values | {"target_sections": "".join(sections)})


def conversion(tokenizer: Tokenizer) -> str:
    """Say what llama.cpp's own converter makes of the published folder."""
    values = {"problem": spm.problem(tokenizer), "refused": spm.is_ours(tokenizer)}
    return render("card-conversion.md.jinja", values)


def training(recipe: Recipe, trained: dict[str, Any]) -> str:
    """Say how long the training was, and which weights it started with."""
    if not trained["step"]:
        return "none here: the weights are as they were imported"
    start = "started from imported weights; " if recipe.training.start else ""
    return (
        f"{start}{trained['step']:,} steps, {trained['tokens']:,} tokens ({trained['epoch']:.1f} epochs), "
        f"{trained['seconds'] / 60:.0f} minutes on {trained['device']}"
    )


def corpus_licences(recipe: Recipe, corpus: dict[str, Any]) -> dict[str, str]:
    """Return the corpus's sources as a card names them, each with the licence of its stories.

    Args:
        recipe: the run's recipe.
        corpus: the report of its corpus, which says if the stories came from Python instead.
    """
    source = recipe.corpus.source
    sources = [source] if isinstance(source, str) else source
    if corpus["source"] == "given":
        sources = ["stories passed from Python"]
    known = {name: f"licence {licence}" for name, licence in LICENCES.items()} | {"storyteller": STORYTELLER}
    stated = f"licence {recipe.export.corpus_license}" if recipe.export.corpus_license else ""
    # A path is the author's own business.
    shown = {name: name if name.startswith("hf:") else Path(name).name for name in sources}
    return {shown[name]: stated or known.get(_dataset(name) or name, UNSTATED) for name in sources}


def in_words(licence_of: Mapping[str, str]) -> str:
    """Write the licences of a corpus, source by source if they differ."""
    if len(set(licence_of.values())) == 1:
        return next(iter(licence_of.values()))
    return "; ".join(f"{name}: {licence}" for name, licence in licence_of.items())


def _dataset(source: str) -> str:
    """Return the name of a source's dataset on the hub; "" if it is not from there."""
    return "/".join(source[3:].split("/")[:2]) if source.startswith("hf:") else ""


def metadata(recipe: Recipe, report: dict[str, Any], sources: list[str], repo: str, license: str) -> str:
    """Return the card's YAML, results included (https://huggingface.co/docs/hub/model-cards)."""
    datasets = list(dict.fromkeys(filter(None, map(_dataset, sources))))
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=datasets[0] if datasets else "stories",
            dataset_name=f"held-out stories of {' and '.join(sources)}",
            metric_type=key,
            metric_name=key.replace("_", " "),
            metric_value=report["documentwise"][key],
        )
        for key in ("bits_per_byte", "bits_per_byte_text", "nats_per_token")
    ]
    data = ModelCardData(
        language="en",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["llama", "tiny-language-model", "stories", "aurelius"],
        license=license or None,
        datasets=datasets if datasets and report["trained"]["step"] else None,
        model_name=repo.split("/")[-1] or recipe.name,
        eval_results=results,
    )
    return data.to_yaml()


def packed(figures: dict[str, Any] | None) -> str:
    """Write the packed loss, if there is one."""
    if not figures:
        return "not measured: fewer held-out tokens than one block"
    plain, with_begin = figures["nats_per_token"], figures["nats_per_token_with_begin"]
    return f"{plain:.4f} nats per token ({with_begin:.4f} with `<s>` as a target)"


def quoted(text: str) -> str:
    """Write a text as a quotation."""
    return "> " + text.replace("\n", "\n> ")


def quality(paths: RunPaths, figures: Mapping[str, Any]) -> str:
    """Say what the model's figure is worth, if its stories are like those of the scale."""
    texts = islice(StoryFile(paths.corpus, "valid"), LOOKED_AT)
    if not on_scale(read_json(paths.corpus_report), texts):
        return ""
    bits = figures["bits_per_byte_text"]
    return (
        f"It writes {scale.in_words(bits)}. On new stories it needs {bits:.3f} bits per byte of text: it "
        f"ranks {scale.place(bits)}."
    )


def decisions(recipe: Recipe) -> str:
    """Return what was decided and why, for what this recipe says."""
    t = recipe.training
    if not t.steps:
        return "- None: the model was imported."
    split = "separate from words" if recipe.tokenizer.split == "separate" else "attached to words"
    settings = recipe.optimizer.model_dump(exclude={"name"})
    values = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in settings.items())
    embedded = recipe.tokenizer.vocab_size * recipe.model.d_model
    attends = "its own story" if t.attention == "story" else "its whole block"
    lines = [
        f"{t.story_start:.0%} of the blocks start with a story, as every prompt does. A token attends to "
        f"{attends}.",
        f"{type(recipe.optimizer).__doc__} Its settings: {values}.",
        f"Learning rate: warm-up over {t.warmup:.0%} of the steps, then constant, then down to "
        f"{t.final_rate:.0%} of the peak over the last {t.decay:.0%}. {t.batch} sequences per step.",
        f"Embeddings and head are one matrix, {embedded / recipe.parameters:.0%} of all parameters.",
        f"Seed {t.seed}.",
    ]
    if not recipe.tokenizer.source:
        lines[:0] = [
            f"Tokenizer: BPE of words with their trailing space, punctuation {split}; 256 byte tokens spell "
            "what the vocabulary lacks. The first token after a prompt then starts a word, as in training.",
            *["Every block, and every text, begins with `<sink>`."] * (recipe.tokenizer.prefix == "sink"),
        ]
    return "\n".join(f"- {text}" for text in lines)


def cost_table(comparisons: "Sequence[Comparison]", files: Mapping[str, int]) -> str:
    """Return what the files cost, measured in each one's runtime, or that no runtime was available."""
    lines = ["| file | MB | runtime | bits per byte | cost |", "|---|---:|---|---:|---:|"]
    measured = {result.path.name for result in comparisons}
    for result in comparisons:
        if result.runtime != "numpy":
            lines.append(
                f"| `{result.path.name}` | {result.bytes / 1e6:.1f} | {result.runtime} {result.version} | "
                f"{result.bits_per_byte:.4f} | {result.cost:+.2%} |"
            )
    for path, size in ((PurePosixPath(name), size) for name, size in files.items()):
        if path.name not in measured and any(target.kind_of(path.name) for target in targets()):
            lines.append(f"| `{path.name}` | {size / 1e6:.1f} | – | not measured | – |")
    return "\n".join(lines)
