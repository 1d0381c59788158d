"""A run, for Python: its recipe, figures and model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurelius.config.recipe import Recipe
from aurelius.errors import RunError, some
from aurelius.files import read_json
from aurelius.pipeline.manifest import Manifest
from aurelius.run_paths import RECIPE, RunPaths, named_run

if TYPE_CHECKING:
    from aurelius.inference.run_model import RunModel


@dataclass(frozen=True, repr=False)
class RunFolder(RunPaths):
    """A run folder. ``done`` names the stages that the call which returned it has done."""

    done: list[str] = field(default_factory=list, compare=False)

    @property
    def recipe(self) -> Recipe:
        """The recipe, every default resolved.

        Raises:
            RecipeError: it is damaged.
        """
        return Recipe.load(self.folder)

    @property
    def report(self) -> dict[str, Any]:
        """The figures of the evaluation, as in ``evaluation/report.json``.

        Raises:
            RunError: the run is not evaluated yet.
        """
        return read_json(self.report_file)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``training/metrics.jsonl``: losses, speed, validations, oldest first."""
        from aurelius.training.metrics import read_metrics

        return read_metrics(self.training)

    def model(self, device: str = "auto") -> "RunModel":
        """Open the newest checkpoint.

        Raises:
            ModelError: nothing is trained yet, or the weights are damaged.
        """
        from aurelius.inference.run_model import RunModel

        return RunModel(self.folder, device)

    def story(self, prompt: str = "", seed: int | None = None, device: str = "auto", **sampling: Any) -> str:
        """Write a story that begins with ``prompt``.

        Args:
            prompt: the beginning; may be empty.
            seed: the same seed gives the same story; None draws one.
            device: auto, cpu, cuda or mps.
            sampling: temperature, min_p, top_k, top_p or max_new_tokens, instead of the recipe's.

        Raises:
            ModelError: nothing is trained yet.
            RecipeError: a value of the sampling is unknown or impossible.
        """
        from aurelius.inference.generate import generate

        return generate(self.model(device), prompt, seed=seed, **sampling).finish().text

    def __repr__(self) -> str:
        recipe = self.recipe
        steps = f"{recipe.training.steps:,} steps of {recipe.tokens_per_step:,} tokens"
        figures = "not evaluated yet"
        if self.report_file.is_file():
            measured = self.report["documentwise"]
            figures = (
                f"{measured['bits_per_byte']:.4f} ± {measured['standard_error']:.4f} bits per byte "
                f"on {measured['documents']:,} held-out stories"
            )
        return (
            f"{self.folder}: {recipe.name}, {recipe.parameters:,} parameters\n"
            f"{steps}{'' if Manifest.read(self.training) else ', not finished'}\n"
            f"{figures}"
        )


def find_run(name: "str | Path") -> Path:
    """Return the folder of a run; a name that is not a path stands for a run in ``runs/``.

    Raises:
        RunError: there is no such run.
    """
    if folder := named_run(name):
        return folder
    runs = sorted(path.parent.name for path in Path("runs").glob(f"*/{RECIPE}"))
    there = f"; runs/ has {some(runs)}" if runs else ""
    raise RunError(f"{name} is not a run folder (no {RECIPE}){there}")


def open_run(name: "str | Path") -> RunFolder:
    """Open a run folder; a name that is not a path, such as ``nano``, stands for ``runs/nano``.

    Raises:
        RunError: there is no such run.
    """
    return RunFolder(find_run(name))
