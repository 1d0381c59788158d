"""Stage 5: how good the trained model is on stories it has not seen."""

import math
from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.data.stories import read_stories
from aurelius.evaluation.likelihood import score
from aurelius.evaluation.packed import measure_packed
from aurelius.files import write_json
from aurelius.inference.generate import generate
from aurelius.inference.run_model import RunModel
from aurelius.model.checkpoint_folder import newest_checkpoint, read_state
from aurelius.progress import SILENT, Progress
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import SpecialTokens

PROMPTS = ("Once upon a time, a little boy named Paco", "One day, a little girl", "The old dog")


def build(recipe: Recipe, run: Path, out: Path, *, device: str = "auto", progress: Progress = SILENT) -> None:
    """Measure the newest checkpoint of a run on its held-out stories and write ``out/report.json``.

    Args:
        recipe: ``[evaluation]`` and ``[generation]`` are used.
        run: the run folder with corpus, tokenizer and training.
        out: the folder to write.
        device: auto, cpu, cuda or mps.
        progress: reports the windows and blocks scored.

    Raises:
        RunError, ModelError: an earlier artifact is missing or damaged.
    """
    model = RunModel(run, device)
    paths = RunPaths(run)
    documents = read_stories(paths.corpus, "valid")
    documents = documents[: recipe.evaluation.stories or None]
    scores = score(model, documents, progress)
    leads = SpecialTokens.read(paths.tokenizer).lead is not None
    packed = measure_packed(model, documents, progress, leads)
    state = read_state(newest_checkpoint(paths.training))
    report = {
        "model": model.name,
        "parameters": model.parameters,
        "trained": {k: state[k] for k in ("step", "tokens", "epoch", "seconds", "device", "threads")},
        "documents": "the run's own held-out stories, cleaned (corpus/valid.parquet)",
        "documentwise": scores.likelihood().as_json(),
        "by_position": [each.as_json() for each in scores.stretches],
        "by_story": (scores.text / scores.sizes / math.log(2)).round(4).tolist(),
        "packed": packed.as_json() if packed else None,
        "samples": [
            {"prompt": p, "seed": 0, "text": story.text, "ended": story.ended}
            for p in PROMPTS
            for story in [generate(model, p, seed=0).finish()]
        ],
    }
    write_json(out / "report.json", report)
