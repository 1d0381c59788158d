"""Opening any model that can be evaluated or generate: a run, a Hugging Face folder, or one on the hub."""

from pathlib import Path

from aurelius.errors import ModelError
from aurelius.inference.language_model import InspectableModel
from aurelius.inference.run_model import RunModel
from aurelius.inference.stock_llama import open_stock_llama
from aurelius.run_paths import named_run


def open_model(source: str | Path, device: str = "auto") -> InspectableModel:
    """Open a run folder, a Hugging Face folder, or ``hf:owner/name``.

    A name that is not a path, such as ``nano``, stands for the run ``runs/nano``.

    Raises:
        ModelError: it is none of these, or damaged.
        HubError: the hub cannot be reached or does not have it.
    """
    source = str(source)
    path = Path(source)
    if source.startswith("hf:"):
        return _transformers_model(source, device)
    if run := named_run(source):
        return RunModel(run, device)
    if (path / "config.json").is_file():
        if (llama := open_stock_llama(path, device)) is not None:
            return llama
        return _transformers_model(str(path), device)
    problem = (
        "has neither recipe.toml (a run) nor config.json (a model)" if path.is_dir() else "does not exist"
    )
    raise ModelError(f"{source} {problem}; pass a run folder, a Hugging Face folder, or hf:owner/name")


def _transformers_model(source: str, device: str) -> InspectableModel:
    from aurelius.inference.transformers_model import TransformersModel  # it takes seconds to import

    return TransformersModel(source, device)
