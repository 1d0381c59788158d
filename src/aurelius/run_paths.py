"""Where everything in a run folder is."""

from dataclasses import dataclass
from pathlib import Path

RECIPE = "recipe.toml"
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
AUTO = "auto"  # the recipe that is sized for a budget of time
CLOCK = "clock.json"  # of a training with a limited time


@dataclass(frozen=True)
class RunPaths:
    """The files and folders of a run."""

    folder: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.folder / RECIPE

    @property
    def corpus(self) -> Path:
        """The corpus folder."""
        return self.folder / "corpus"

    @property
    def corpus_report(self) -> Path:
        """What was read, changed and dropped."""
        return self.corpus / "report.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer folder."""
        return self.folder / "tokenizer"

    @property
    def tokenizer_file(self) -> Path:
        """The stock ``tokenizer.json``."""
        return self.tokenizer / "tokenizer.json"

    @property
    def tokens(self) -> Path:
        """The folder of the token store."""
        return self.folder / "tokens"

    @property
    def training(self) -> Path:
        """The folder with checkpoints and metrics."""
        return self.folder / "training"

    @property
    def metrics_file(self) -> Path:
        """The figures of the training, a line of JSON each."""
        return self.training / METRICS

    @property
    def evaluation(self) -> Path:
        """The evaluation folder."""
        return self.folder / "evaluation"

    @property
    def report_file(self) -> Path:
        """The figures of the evaluation."""
        return self.evaluation / "report.json"

    @property
    def huggingface(self) -> Path:
        """The model as stock transformers loads it."""
        return self.export("huggingface")

    @property
    def imported(self) -> Path:
        """The model that a run was imported from."""
        return self.folder / "imported"

    @property
    def superseded(self) -> Path:
        """Stages that an update replaced."""
        return self.folder / "superseded"

    @property
    def lock(self) -> Path:
        """Held by the process that works in the run."""
        return self.folder / ".lock"

    @property
    def exports(self) -> Path:
        """The folder of all export targets."""
        return self.folder / "export"

    def export(self, target: str) -> Path:
        """Return the folder of an export target."""
        return self.exports / target

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a recipe."""
        return self.recipe_file.is_file()


def named_run(name: "str | Path") -> Path | None:
    """Return the folder of a run, given that folder or its name in ``runs/``; None if there is no run."""
    return next((path for path in (Path(name), Path("runs") / name) if (path / RECIPE).is_file()), None)
