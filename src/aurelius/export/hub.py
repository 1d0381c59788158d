"""Publishing on the Hugging Face hub: one repository with weights, ONNX and GGUF files, and the card.

What is to be sent lies in ``export/hub`` of the run first; only `send` lets it leave this machine.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aurelius.artifacts import MANIFEST, write_bytes
from aurelius.errors import HubError, RecipeError, RunError, first_line
from aurelius.export import GGUF_TYPES, ONNX_FILES
from aurelius.export.card import card
from aurelius.export.check import Row, check, disagreements
from aurelius.export.huggingface import generation_config
from aurelius.export.runtimes import written
from aurelius.progress import SILENT, Progress
from aurelius.recipe import Recipe
from aurelius.vocabulary import Special

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
TRIES = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Publication:
    """What is to be in the repository: files by name with their sizes (bytes).

    ``stale`` names those that an earlier publication may have left there.
    """

    repo: str
    folder: Path
    files: dict[str, int]
    stale: list[str]


def check_names(repo: str, license: str = "") -> None:
    """Refuse what the hub would.

    Raises:
        RecipeError: ``repo`` is no ``owner/name``, or ``license`` is not spelled as the hub does.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("give owner/name")
    except HFValidationError as error:
        raise RecipeError(f"'{repo}' is no name of a model on the hub: {first_line(error)}") from None
    if license and not LICENSE.fullmatch(license):
        raise RecipeError(
            f"'{license}' is no licence as the hub spells them, such as apache-2.0, mit, cc0-1.0"
        )


def prepare(run: Path, repo: str, license: str = "", progress: Progress = SILENT) -> Publication:
    """Put a repository together in ``export/hub`` of a run, its files checked in every runtime that is here.

    Args:
        run: a run folder, exported.
        repo: ``owner/name`` on the hub.
        license: of the weights, as the hub spells it (``apache-2.0``).
        progress: told the runtimes asked.

    Raises:
        RecipeError: see `check_names`.
        RunError: the run is not exported, or a runtime disagrees with it.
    """
    check_names(repo, license)
    rows, missing = check(run, progress)
    if problems := disagreements(rows):
        raise RunError(f"{run} is not published, its exports disagree: {'; '.join(problems)}")
    for reason in missing:
        progress.note(f"not checked: {reason}")
    return assemble(run, rows, repo, license)


def assemble(run: Path, rows: list[Row], repo: str, license: str) -> Publication:
    """Lay the repository out in ``export/hub``, where the runtimes look for their files."""
    recipe, export = Recipe.load(run), run / "export"
    out = export / "hub"
    shutil.rmtree(out, ignore_errors=True)
    wanted = [path for path in (export / "huggingface").iterdir() if path.name not in (MANIFEST, "README.md")]
    for path in [*wanted, *written(export / "onnx", ".onnx"), *written(export / "gguf", ".gguf")]:
        target = out / ("onnx" if path.suffix == ".onnx" else "") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    special = Special.read(run / "tokenizer")
    names = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_file()]
    sampling = generation_config(recipe, special)
    text = card(recipe, run, sampling, special, rows, names, repo, license)
    write_bytes(out / "README.md", text.encode())
    files = {p.relative_to(out).as_posix(): p.stat().st_size for p in sorted(out.rglob("*")) if p.is_file()}
    ours = [f"onnx/{name}.onnx" for name in ONNX_FILES.values()]
    ours += [f"{recipe.name}-{kind}.gguf" for kind in GGUF_TYPES]
    return Publication(repo, out, files, [name for name in ours if name not in files])


def send(what: Publication, private: bool = False, collection: str = "", progress: Progress = SILENT) -> str:
    """Upload a publication as one commit; return the commit's address.

    Args:
        what: see `prepare`.
        private: make the repository a private one, if it is made.
        collection: the slug of a collection to add the model to.
        progress: told what is sent and what is tried again.

    Raises:
        HubError: the hub refused or could not be reached; the files are sent all or none.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # the library never prints
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    message = "Publish with Aurelius"
    _tried(what.repo, lambda: api.create_repo(what.repo, private=private, exist_ok=True), progress)
    progress.note(f"sending {len(what.files)} files, {sum(what.files.values()) / 1e6:.1f} MB")
    commit = _tried(
        what.repo,
        lambda: api.upload_folder(
            repo_id=what.repo,
            folder_path=what.folder,
            commit_message=message,
            delete_patterns=what.stale or None,
        ),
        progress,
    )
    progress.note(f"published: {commit.commit_url}")
    if collection:
        _tried(
            collection,
            lambda: api.add_collection_item(collection, what.repo, "model", exists_ok=True),
            progress,
        )
    return commit.commit_url


def _tried(what: str, call: Callable[[], T], progress: Progress) -> T:
    """Call the hub, again where it was the hub's or the network's fault."""
    from huggingface_hub.errors import LocalTokenNotFoundError

    for left in reversed(range(TRIES)):
        try:
            return call()
        except LocalTokenNotFoundError:
            raise HubError("no token of the hub is known here; log in first: hf auth login") from None
        except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
            answer = getattr(error, "response", None)
            status = getattr(answer, "status_code", 0)
            if status in (401, 403):
                advice = "log in (hf auth login) with a token that may write there"
                raise HubError(f"the hub refuses {what} ({status}); {advice}") from None
            if 0 < status < 500 or not left:
                raise HubError(f"{what} on the hub: {first_line(error)}") from None
            progress.note(f"the hub: {first_line(error)}; once more")
    raise AssertionError("unreachable")
