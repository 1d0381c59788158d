"""Publishing on the Hugging Face hub: one repository with weights, other formats and the model card.

The repository is first laid out in ``export/hub`` of the run; only `send` lets anything leave this machine.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aurelius.config.recipe import Recipe
from aurelius.errors import HubError, RecipeError, RunError, first_line, suggest
from aurelius.export.card import UNSTATED, card, corpus_licences
from aurelius.export.huggingface import generation_config
from aurelius.export.registry import BASE, targets
from aurelius.files import read_json, write_bytes
from aurelius.parity.compare import Comparison, problems_of
from aurelius.parity.remembered import check_once
from aurelius.parity.runtime import finished_files
from aurelius.progress import SILENT, Progress
from aurelius.publishing.licences import check_licence
from aurelius.retry import with_retries
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import SpecialTokens

T = TypeVar("T")


@dataclass(frozen=True)
class Publication:
    """What goes into the repository: files by name, with sizes (bytes).

    ``outdated`` names files that an earlier publication may have left there, ``license`` is that of the
    weights, and ``corpus`` maps each source of the stories to their licence.
    """

    repo: str
    folder: Path
    files: dict[str, int]
    outdated: list[str]
    license: str
    corpus: dict[str, str]

    def summary(self, private: bool = False, collection: str = "") -> list[str]:
        """Return what `send` would do, a line each; the arguments are those of `send`."""
        return [
            f"repository          {self.repo}, {'private' if private else 'public'} if it is created now",
            f"collection          {collection or 'none'}",
            f"licence of weights  {self.license or 'none stated'}",
            *(f"licence of corpus   {name}: {licence}" for name, licence in self.corpus.items()),
            *(f"{size / 1e6:9.3f} MB  {name}" for name, size in self.files.items()),
        ]

    @property
    def missing_licences(self) -> list[str]:
        """The licences that nobody stated, a line each, with how to state them."""
        lines = []
        if not self.license:
            lines.append("no licence is stated for the weights; state one, such as --license apache-2.0")
        if names := [name for name, licence in self.corpus.items() if licence == UNSTATED]:
            run = self.folder.parents[1]
            lines.append(
                f"no licence is stated for the corpus ({', '.join(names)}); state one, such as "
                f"{suggest('export', run, '--set', 'export.corpus_license=cc-by-4.0')}"
            )
        return lines


def check_names(repo: str, license: str = "") -> None:
    """Refuse names that the hub would refuse.

    Raises:
        RecipeError: ``repo`` is not an ``owner/name``, or the hub does not know the licence.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("give owner/name")
    except HFValidationError as error:
        raise RecipeError(f"'{repo}' is not a valid model name on the hub: {first_line(error)}") from None
    if license:
        check_licence(license)


def prepare(run: Path, repo: str, license: str = "", progress: Progress = SILENT) -> Publication:
    """Lay out a repository in ``export/hub`` of a run, with its files checked in every installed runtime.

    Args:
        run: a run folder, exported.
        repo: ``owner/name`` on the hub.
        license: of the weights, in the hub's spelling (``apache-2.0``).
        progress: reports the runtimes checked.

    Raises:
        RecipeError: see `check_names`.
        RunError: the run is not exported, or a runtime disagrees with it.
    """
    check_names(repo, license)
    comparisons, skipped = check_once(run, progress)
    if problems := problems_of(comparisons):
        raise RunError(f"{run} is not published, because its exports disagree: {'; '.join(problems)}")
    for reason in skipped:
        progress.note(f"skipped: {reason}")
    return assemble(run, comparisons, repo, license)


def assemble(run: Path, comparisons: list[Comparison], repo: str, license: str) -> Publication:
    """Lay out the repository in ``export/hub``, with files where the runtimes look for them."""
    recipe, paths = Recipe.load(run), RunPaths(run)
    out = paths.export("hub")
    shutil.rmtree(out, ignore_errors=True)
    base = finished_files(run, BASE)  # what the export wrote, not what else lies in its folder
    sources = {path.name: path for path in base if path.name != "README.md"}
    for target in targets():
        for path in finished_files(run, target.name):
            if name := target.published_as(path.name):
                sources[name] = path
    for name, path in sources.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
    special = SpecialTokens.read(paths.tokenizer)
    sampling = generation_config(recipe, special)
    text = card(recipe, run, sampling, special, comparisons, _sizes(out), repo, license)
    write_bytes(out / "README.md", text.encode())
    files = _sizes(out)
    possible = [name for target in targets() for name in target.possible_files(recipe)]
    corpus = corpus_licences(recipe, read_json(paths.corpus_report))
    return Publication(repo, out, files, [name for name in possible if name not in files], license, corpus)


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size (bytes) of every file in a folder, by relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def send(
    publication: Publication, private: bool = False, collection: str = "", progress: Progress = SILENT
) -> str:
    """Upload a publication as one commit; return the commit's URL.

    Args:
        publication: see `prepare`.
        private: create a private repository, and send nothing to an existing public one.
        collection: the slug of a collection to add the model to.
        progress: reports what is sent and what is tried again.

    Raises:
        HubError: the hub refused or could not be reached, or the repository is public and should be private;
            either all files are sent or none.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # the library never prints
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    message = "Publish with Aurelius"
    _request(
        publication.repo, lambda: api.create_repo(publication.repo, private=private, exist_ok=True), progress
    )
    if private and not _request(publication.repo, lambda: api.model_info(publication.repo), progress).private:
        raise HubError(
            f"{publication.repo} already exists and is public, so nothing was sent; make it private in its "
            "settings on the hub, or omit --private"
        )
    progress.note(f"sending {len(publication.files)} files, {sum(publication.files.values()) / 1e6:.1f} MB")
    commit = _request(
        publication.repo,
        lambda: api.upload_folder(
            repo_id=publication.repo,
            folder_path=publication.folder,
            commit_message=message,
            delete_patterns=publication.outdated or None,
        ),
        progress,
    )
    progress.note(f"published: {commit.commit_url}")
    if collection:
        _request(
            collection,
            lambda: api.add_collection_item(collection, publication.repo, "model", exists_ok=True),
            progress,
        )
    return commit.commit_url


def _request(name: str, call: Callable[[], T], progress: Progress) -> T:
    """Call the hub, again if the hub or the network failed; ``name`` is what the call is about."""
    from huggingface_hub.errors import LocalTokenNotFoundError

    def on_retry(error: Exception) -> None:
        progress.note(f"the hub: {first_line(error)}; trying again")

    try:
        return with_retries(call, on_retry)
    except LocalTokenNotFoundError:
        raise HubError("no hub token was found on this machine; log in first: hf auth login") from None
    except Exception as error:  # the hub's own errors, its HTTP library's, and the system's
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status in (401, 403):
            advice = "log in (hf auth login) with a token that may write there"
            raise HubError(f"the hub refuses {name} ({status}); {advice}") from None
        raise HubError(f"{name} on the hub: {first_line(error)}") from None
