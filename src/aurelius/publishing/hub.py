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

from aurelius.config.recipe import Recipe
from aurelius.errors import (
    HubError,
    RecipeError,
    RunError,
    first_line,
)
from aurelius.export.card import UNSTATED, card, origin
from aurelius.export.huggingface import generation_config
from aurelius.export.target import GGUF_TYPES, ONNX_FILES
from aurelius.files import read_json, write_bytes
from aurelius.parity.check import Row, check, disagreements
from aurelius.parity.runtimes import written
from aurelius.pipeline.manifest import MANIFEST
from aurelius.progress import SILENT, Progress
from aurelius.special_tokens import SpecialTokens

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
TRIES = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Publication:
    """What is to be in the repository: files by name with their sizes (bytes).

    ``stale`` names those that an earlier publication may have left there, ``license`` is that of the weights,
    and ``corpus`` says for each source of the stories under what licence they are.
    """

    repo: str
    folder: Path
    files: dict[str, int]
    stale: list[str]
    license: str
    corpus: dict[str, str]

    def told(self, private: bool = False, collection: str = "") -> list[str]:
        """Return what `send` would do with it, a line each; its arguments are those."""
        return [
            f"repository          {self.repo}, {'private' if private else 'public'} if it is made now",
            f"collection          {collection or 'none'}",
            f"licence of weights  {self.license or 'none stated'}",
            *(f"licence of corpus   {name}: {licence}" for name, licence in self.corpus.items()),
            *(f"{size / 1e6:9.3f} MB  {name}" for name, size in self.files.items()),
        ]

    @property
    def unstated(self) -> list[str]:
        """The licences that nobody stated, a line each, with what states them."""
        found = []
        if not self.license:
            found.append("no licence of the weights is stated; --license apache-2.0, for one, states it")
        if names := [name for name, licence in self.corpus.items() if licence == UNSTATED]:
            run = self.folder.parents[1]
            found.append(
                f"no licence of the corpus is stated ({', '.join(names)}); "
                f"aurelius export {run} --set export.corpus_license=cc-by-4.0, for one, states it"
            )
        return found


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
    special = SpecialTokens.read(run / "tokenizer")
    sampling = generation_config(recipe, special)
    text = card(recipe, run, sampling, special, rows, _sizes(out), repo, license)
    write_bytes(out / "README.md", text.encode())
    files = _sizes(out)
    ours = [f"onnx/{name}.onnx" for name in ONNX_FILES.values()]
    ours += [f"{recipe.name}-{kind}.gguf" for kind in GGUF_TYPES]
    corpus = origin(recipe, read_json(run / "corpus" / "report.json"))
    return Publication(repo, out, files, [name for name in ours if name not in files], license, corpus)


def _sizes(folder: Path) -> dict[str, int]:
    """Return every file below a folder by its name there, with its bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def send(what: Publication, private: bool = False, collection: str = "", progress: Progress = SILENT) -> str:
    """Upload a publication as one commit; return the commit's address.

    Args:
        what: see `prepare`.
        private: make the repository a private one, and send nothing to one that is there and public.
        collection: the slug of a collection to add the model to.
        progress: told what is sent and what is tried again.

    Raises:
        HubError: the hub refused or could not be reached, or the repository is public and was to be private;
            the files are sent all or none.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # the library never prints
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    message = "Publish with Aurelius"
    _tried(what.repo, lambda: api.create_repo(what.repo, private=private, exist_ok=True), progress)
    if private and not _tried(what.repo, lambda: api.model_info(what.repo), progress).private:
        raise HubError(
            f"{what.repo} is there already and public, so nothing was sent; make it private in its settings "
            "on the hub, or leave --private out"
        )
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
