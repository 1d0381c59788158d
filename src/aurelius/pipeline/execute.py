"""Deciding whether a stage is done, and doing it."""

import shutil
import time
from dataclasses import replace

from aurelius.config.recipe import Recipe
from aurelius.errors import RunError
from aurelius.files import sync
from aurelius.pipeline import stages
from aurelius.pipeline.manifest import Entry, Manifest, describe
from aurelius.pipeline.stages import Job, Stage, with_following
from aurelius.progress import Progress
from aurelius.run_paths import MANIFEST, RECIPE, RunPaths


def is_done(
    stage: Stage, recipe: Recipe, run: RunPaths, update: bool, verify: bool, progress: Progress
) -> bool:
    """Whether the stage's manifest is there and matches.

    Raises:
        RunError: it is there but does not match, and ``update`` is off.
    """
    manifest = Manifest.read(run.folder / stage.folder)
    if manifest is None:
        return False
    problem = _mismatch(stage, recipe, run, manifest, verify)
    if problem is None:
        return True
    later = with_following([stage.name])
    if not update:
        begun = [name for name in later if (run.folder / stages.folder(name)).is_dir()]
        raise RunError(
            f"{problem}. --update redoes {', '.join(stages.shown(later, begun))} and keeps the old folders "
            "in superseded/"
        )
    progress.note(problem)
    stages.set_aside(run, later, progress)
    return False


def _mismatch(stage: Stage, recipe: Recipe, run: RunPaths, manifest: Manifest, verify: bool) -> str | None:
    """Say what no longer holds about a finished stage, if anything."""
    folder = run.folder / stage.folder
    if damaged := manifest.damaged(folder, verify):
        names = ", ".join(map(str, damaged))
        return f"{names} {'is' if len(damaged) == 1 else 'are'} missing or changed since the stage ended"
    if changed := manifest.changed_sources(verify):
        return f"{', '.join(changed)} changed since {folder} was made from it"
    recorded, now = stage.deciding_part(manifest.recipe), stage.deciding_part(stage.part(recipe))
    if recorded != now:
        parts = [name for name in now if recorded.get(name) != now[name]]
        return f"{folder} was made with another recipe than {run.folder / RECIPE} (its {', '.join(parts)})"
    recorded_inputs = {name: digest for name, digest in manifest.inputs.items() if _is_read(name)}
    if recorded_inputs != inputs_of(stage, run):
        return f"{folder} was made from other artifacts than those next to it"
    return None


def inputs_of(stage: Stage, run: RunPaths) -> dict[str, str]:
    """Return the hashes of the artifacts that a stage builds on, from the earlier stages' manifests."""
    hashes = {}
    for name in stage.after:
        folder = run.folder / stages.folder(name)
        manifest = Manifest.read(folder)
        if manifest is None:
            raise RunError(f"{folder / MANIFEST} went missing while {stage.name} was running")
        hashes |= {f"{name}/{file}": entry.sha256 for file, entry in manifest.outputs.items()}
    return {name: digest for name, digest in hashes.items() if _is_read(name)}


def _is_read(name: str) -> bool:
    """Whether later stages read an artifact: all but the model card, which may be written again."""
    return not name.endswith("/README.md")


def do(stage: Stage, job: Job) -> None:
    """Do a stage and, at the end, write its manifest."""
    out = job.run.folder / stage.folder
    if not stage.resumes:
        shutil.rmtree(out, ignore_errors=True)  # what a killed stage left; it never had a manifest
    out.mkdir(parents=True, exist_ok=True)
    inputs = inputs_of(stage, job.run)
    started = time.monotonic()
    sources = stage.work(replace(job, out=out)) or []
    seconds = time.monotonic() - started
    outputs = describe(out)
    for name in outputs:  # they must be on disk before the manifest that vouches for them
        sync(out / name)
    Manifest(
        stage=stage.name,
        recipe=stage.part(job.recipe),
        inputs=inputs,
        sources={str(path.absolute()): Entry.of(path) for path in sources},
        outputs=outputs,
        seconds=round(seconds, 3),
    ).write(out)
    job.progress.note(f"{stage.name}: done in {seconds:.1f} s")


def refresh(stage: Stage, job: Job) -> None:
    """Let a finished stage write again what depends on operational fields of the recipe, if they changed."""
    if stage.refresh is None:
        return
    out, part = job.run.folder / stage.folder, stage.part(job.recipe)
    manifest = Manifest.read(out)
    if manifest is None:
        return
    recorded = part | manifest.recipe  # an older version did not record all; what it wrote is left as it is
    if all(recorded[key] == part[key] for key in part if "." in key):
        return
    names = stage.refresh(replace(job, out=out))
    entries = {name: Entry.of(out / name) for name in names}
    replace(manifest, recipe=part, outputs=manifest.outputs | entries).write(out)
    job.progress.note(f"{stage.name}: wrote {', '.join(names)} again")
