"""Stage 6: one folder for each runtime that loads the model."""

from pathlib import Path

from aurelius.export import huggingface
from aurelius.progress import SILENT, Progress
from aurelius.recipe import Recipe


def build(recipe: Recipe, run: Path, out: Path, progress: Progress = SILENT) -> None:
    """Write the newest checkpoint of a run as ``out/huggingface``, which stock transformers loads.

    Raises:
        RunError, ModelError: an earlier artifact is missing or damaged.
    """
    huggingface.write(recipe, run, out / "huggingface")
    progress.note(f"export: {out / 'huggingface'}")
