"""Taking over a finished corpus, tokenizer or token store from a run next to this one.

Its files are hard-linked, or copied where links are impossible. No stage changes a file in place, so deleting
or updating either run leaves the other whole.
"""

import os
import shutil
from pathlib import Path

from aurelius.config.recipe import Recipe
from aurelius.errors import AureliusError
from aurelius.files import read_json
from aurelius.pipeline.execute import inputs_of
from aurelius.pipeline.manifest import Entry, Manifest
from aurelius.pipeline.stages import Stage
from aurelius.progress import Progress
from aurelius.run_paths import MANIFEST, RunPaths
from aurelius.versions import versions


def share(stage: Stage, recipe: Recipe, run: RunPaths, verify: bool, progress: Progress) -> bool:
    """Take the stage over from a sibling with the same recipe and inputs; return whether there is one."""
    if not stage.shared or any((run.folder / stage.folder).glob("*")):
        return False
    for sibling in sorted(path for path in run.folder.absolute().parent.iterdir() if path.is_dir()):
        if sibling == run.folder.absolute():
            continue
        try:
            manifest = _matching(stage, recipe, run, RunPaths(sibling), verify)
            if manifest and _link(sibling / stage.folder, run.folder / stage.folder, manifest):
                progress.note(f"{stage.name}: the same as in {sibling}, shared with it")
                return True
        except (AureliusError, OSError):  # another run's trouble, or a file system's; do the stage here
            shutil.rmtree(run.folder / stage.folder, ignore_errors=True)
    return False


def _matching(
    stage: Stage, recipe: Recipe, run: RunPaths, sibling: RunPaths, verify: bool
) -> Manifest | None:
    """Return the sibling's manifest if its stage is what this run would make."""
    folder = sibling.folder / stage.folder
    manifest = Manifest.read(folder) if sibling.is_run else None
    if manifest is None:
        return None
    if stage.deciding_part(manifest.recipe) != stage.deciding_part(stage.part(recipe)):
        return None
    if manifest.inputs != inputs_of(stage, run) or manifest.damaged(folder, verify):
        return None
    if manifest.changed_sources(verify) or not all(Path(source).exists() for source in manifest.sources):
        return None
    if stage.name == "corpus" and read_json(sibling.corpus_report)["source"] == "given":
        return None  # its stories came from Python, whatever its recipe says
    return manifest


def _link(source: Path, out: Path, manifest: Manifest) -> bool:
    outputs = {}
    for name in manifest.outputs:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, target)
        except OSError:
            shutil.copy2(source / name, target)
        status = target.stat()
        outputs[name] = Entry(manifest.outputs[name].sha256, status.st_size, status.st_mtime_ns)
    Manifest(
        stage=manifest.stage,
        recipe=manifest.recipe,
        inputs=manifest.inputs,
        sources=manifest.sources,
        outputs=outputs,
        seconds=0.0,
        versions=manifest.versions or versions(),
    ).write(out)
    return (out / MANIFEST).is_file()
