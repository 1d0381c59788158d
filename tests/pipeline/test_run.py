import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from aurelius.config.recipe import Recipe
from aurelius.errors import AureliusError, RecipeError, RunError, StorageError, TokenizerError
from aurelius.pipeline import manifest as artifacts
from aurelius.pipeline.run import run
from aurelius.pipeline.stages import NAMES, STAGES, folder
from tests.pipeline.test_manifest import flip


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny"))


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): artifacts.sha256(p)
        for p in folder.rglob("*")
        if p.is_file() and p.name != "manifest.json" and not {"superseded", ".lock"} & set(p.parts)
    }


def test_a_finished_run_has_the_folder_of_the_design(tiny_run: Path):
    files = {p.relative_to(tiny_run).as_posix() for p in tiny_run.rglob("*") if p.is_file()}
    assert {f"{folder(name)}/manifest.json" for name in NAMES} | {
        "recipe.toml",
        "corpus/train.parquet",
        "corpus/valid.parquet",
        "corpus/report.json",
        "tokenizer/tokenizer.json",
        "tokens/train.bin",
        "tokens/valid.bin",
        "training/metrics.jsonl",
        "training/step-000012/model.safetensors",
        "evaluation/report.json",
        "export/huggingface/model.safetensors",
    } <= files


def test_running_again_quickly_does_nothing(tiny, copy: Path):
    before = digests(copy)
    code = (
        "import sys, aurelius; assert aurelius.run(sys.argv[1]).done == []; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(copy)]).returncode == 0
    assert run(tiny, copy).done == []
    assert digests(copy) == before


def test_a_folder_in_use_is_left_alone(tiny, copy: Path):
    with FileLock(copy / ".lock"), pytest.raises(RunError, match="another aurelius process is working"):
        run(tiny, copy)


def test_a_change_that_affects_no_finished_stage_needs_no_update(tiny, tmp_path: Path):
    run(tiny, tmp_path / "run", until="tokenizer")
    changed = {"training.steps": 3, "description": "better"}
    assert run(tiny, tmp_path / "run", overrides=changed, until="tokens").done == ["tokens"]
    with pytest.raises(RunError, match="affects tokenizer, tokens"):
        run(tmp_path / "run", overrides={"tokenizer.split": "glued"}, until="tokens")


def test_no_such_stage(tiny, tmp_path: Path):
    with pytest.raises(RunError, match="no stage 'pack'"):
        run(tiny, tmp_path / "run", until="pack")


def test_a_run_is_reproducible(tiny, tiny_run: Path, tmp_path: Path):
    again = run(tiny, tmp_path / "again", device="cpu").folder
    timed = ("state.json", "metrics.jsonl", "report.json", "README.md")
    for name, digest in digests(tiny_run).items():
        if not name.endswith(timed):
            assert digests(again)[name] == digest, name


def test_a_changed_recipe_names_fields_and_stages(tiny, copy: Path):
    before = digests(copy)
    with pytest.raises(RunError) as caught:
        run(tiny, copy, overrides={"training.steps": 14, "training.seed": 3})
    for words in ("training.steps is 12 there and 14 here", "training.seed is 0 there and 3 here"):
        assert words in str(caught.value)
    assert "affects training, evaluation, export" in str(caught.value)
    assert digests(copy) == before


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"training.steps": 14}, ["training", "evaluation", "export"]),
        ({"evaluation.stories": 2}, ["evaluation", "export"]),
        ({"name": "other"}, ["export"]),
        ({"corpus.seed": 9}, list(NAMES)),
        ({"description": "better"}, []),
    ],
)
def test_update_redoes_only_affected_stages(tiny, copy: Path, change: dict, redone: list[str]):
    before = digests(copy)
    assert run(tiny, copy, overrides=change, update=True, device="cpu").done == redone
    for name, digest in before.items():
        stage = name.split("/")[0]
        if stage in redone:
            inner = name.removeprefix(f"{folder(stage)}/")
            assert artifacts.sha256(copy / "superseded" / f"{stage}-1" / inner) == digest
        elif stage in NAMES:
            assert artifacts.sha256(copy / name) == digest
    assert run(tiny, copy, overrides=change).done == []


def test_every_field_of_the_recipe_belongs_to_a_stage():
    sections = {part.split(".")[0] for stage in STAGES for part in stage.parts}
    assert set(Recipe.model_fields) - sections == {"description"}


def test_a_stage_without_a_manifest_is_redone(tiny, copy: Path):
    expected = digests(copy)
    (copy / "tokenizer/manifest.json").unlink()
    (copy / "tokenizer/tokenizer.json").write_text("half writ")
    (copy / "tokenizer/left over").write_text("")
    assert run(tiny, copy).done == ["tokenizer"], "the same tokenizer: nothing after it changes"
    assert digests(copy) == expected


def test_a_killed_training_resumes(tiny, copy: Path):
    expected = artifacts.sha256(copy / "training/step-000012/model.safetensors")
    (copy / "training/manifest.json").unlink()
    shutil.rmtree(copy / "training/step-000012")
    done = run(tiny, copy, device="cpu", update=True).done
    assert done[0] == "training"
    assert not list((copy / "superseded").glob("training-*")), "gone on with, not set aside"
    assert artifacts.sha256(copy / "training/step-000012/model.safetensors") == expected


def test_verify_names_one_flipped_byte(tiny, copy: Path):
    assert run(tiny, copy, verify=True).done == []
    for name in ("corpus/train.parquet", "tokens/valid.bin", "export/huggingface/model.safetensors"):
        kept = (copy / name).read_bytes()
        times = (copy / name).stat()
        flip(copy / name)
        assert run(tiny, copy).done == [], "size and time are as they were"
        with pytest.raises(RunError, match=name):
            run(tiny, copy, verify=True)
        (copy / name).write_bytes(kept)
        os.utime(copy / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    (copy / "corpus/train.parquet").unlink()
    with pytest.raises(RunError, match=r"corpus/train\.parquet is missing"):
        run(tiny, copy)


def test_a_moved_or_copied_run_is_still_done(tiny_run: Path, tmp_path: Path):
    shutil.copytree(tiny_run, tmp_path / "elsewhere", copy_function=shutil.copyfile)  # times are lost
    assert run(tmp_path / "elsewhere").done == []


def test_a_changed_source_is_noticed(tiny, tmp_path: Path):
    from aurelius.corpus import storyteller

    source = tmp_path / "stories.txt"
    source.write_text("\n<|endoftext|>\n".join(storyteller.stories(300)))
    options = {"overrides": {"corpus.source": str(source)}, "until": "tokens"}
    assert run(tiny, tmp_path / "run", **options).done == ["corpus", "tokenizer", "tokens"]
    os.utime(source, (1, 1))
    assert run(tiny, tmp_path / "run", **options).done == []
    with source.open("a") as file:
        file.write("\n<|endoftext|>\nOne day there was one more story than there had been before.")
    with pytest.raises(RunError, match=r"stories\.txt changed since"):
        run(tiny, tmp_path / "run", **options)
    assert run(tiny, tmp_path / "run", update=True, **options).done == ["corpus", "tokenizer", "tokens"]
    source.unlink()
    assert run(tmp_path / "run", until="tokens").done == [], "what was made from it is there"


def test_minutes_are_turned_into_steps_once(tiny, tmp_path: Path):
    first = run(tiny, tmp_path / "run", minutes=0.01, until="training", device="cpu")
    steps = first.recipe.training.steps
    assert steps > 0 and Recipe.load(tmp_path / "run/recipe.toml").training.steps == steps
    again = run(tiny, tmp_path / "run", minutes=0.01, until="training")
    assert again.done == [] and again.recipe.training.steps == steps
    assert run(tmp_path / "run", until="training").done == []
    with pytest.raises(RunError, match=r"training\.batch is 4 there and 8 here"):
        run(tiny, tmp_path / "run", minutes=0.01, overrides={"training.batch": 8})
    with pytest.raises(RecipeError, match="both"):
        run(tiny, tmp_path / "run", minutes=0.01, overrides={"training.steps": 8})
    counted = run(tmp_path / "run", overrides={"training.steps": 3}, update=True, until="training")
    assert (counted.recipe.training.steps, counted.recipe.training.minutes) == (3, 0)
    first = run(tiny, tmp_path / "run", minutes=0.01, update=True, until="training", device="cpu")
    assert first.recipe.training.steps > 0 and first.recipe.training.minutes == 0.01
    with pytest.raises(RunError, match=r"training\.minutes is 0\.01 there and 0\.02 here"):
        run(tiny, tmp_path / "run", minutes=0.02)


def test_a_refused_request_leaves_no_folder(tiny, tmp_path: Path):
    with pytest.raises(AureliusError):
        run(tiny.with_(**{"corpus.source": str(tmp_path / "missing.txt")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="stage export, but until='training' ends before it"):
        run(tiny, tmp_path / "other", until="training", to=("onnx",))
    assert not (tmp_path / "other").exists()


def test_work_that_was_done_is_kept_when_a_later_stage_is_refused(tiny, tmp_path: Path):
    with pytest.raises(AureliusError):
        run(tiny.with_(**{"tokenizer.vocab_size": 30_000}), tmp_path / "run")
    assert (tmp_path / "run/corpus/manifest.json").is_file()


def test_a_read_only_run_needs_no_lock(copy: Path, monkeypatch: pytest.MonkeyPatch):
    def read_only(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(copy / ".lock"))

    monkeypatch.setattr(FileLock, "acquire", read_only)
    assert run(copy).done == []
    with pytest.raises(StorageError, match="Permission denied"):
        run("pico", copy.parent / "new")


def test_a_start_that_an_update_would_move_away_is_refused(tiny, copy: Path):
    before = digests(copy)
    for start in (copy / "export/huggingface", copy / "training/step-000012"):
        with pytest.raises(RunError, match="which --update would move away; copy it elsewhere first"):
            run(copy, overrides={"training.start": str(start)}, update=True)
    assert digests(copy) == before
    assert run(copy).done == []


def test_a_start_with_another_tokenizer_is_refused(tiny, tiny_run: Path, tmp_path: Path):
    start = {"training.start": str(tiny_run / "export/huggingface")}
    other = tiny.with_(**start, **{"corpus.seed": 5})
    with pytest.raises(TokenizerError, match=r"set tokenizer\.source to .*export/huggingface, too"):
        run(other, tmp_path / "other", until="training", fresh=True)
    same = other.with_(**{"tokenizer.source": str(tiny_run / "export/huggingface")})
    assert run(same, tmp_path / "same", until="training").done[-1] == "training"


def test_a_folder_of_something_else_is_left_alone(tiny, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="neither empty nor a run"):
        run(tiny, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("stage", ["corpus", "tokenizer", "training", "export"])
def test_a_full_disk_stops_cleanly_and_resumes_afterwards(tiny, copy: Path, monkeypatch, stage: str):
    expected = digests(copy)
    for name in NAMES[NAMES.index(stage) :]:
        shutil.rmtree(copy / name)
    real = os.fsync

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(copy))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        run(tiny, copy, device="cpu")
    assert not (copy / stage / "manifest.json").exists()
    assert not list(copy.rglob("*.tmp")), "nothing half-written"
    monkeypatch.setattr(os, "fsync", real)
    assert run(tiny, copy, device="cpu").done == list(NAMES[NAMES.index(stage) :])
    timed = ("state.json", "metrics.jsonl", "report.json", "README.md")
    now = digests(copy)
    assert all(now[name] == digest for name, digest in expected.items() if not name.endswith(timed))


def test_the_manifest_says_what_made_it(tiny, tiny_run: Path):
    manifest = json.loads((tiny_run / "training/manifest.json").read_text())
    assert manifest["recipe"]["model"]["d_model"] == 32
    assert manifest["inputs"]["tokens/train.bin"] == artifacts.sha256(tiny_run / "tokens/train.bin")
    assert (
        manifest["outputs"]["metrics.jsonl"]["bytes"] == (tiny_run / "training/metrics.jsonl").stat().st_size
    )
    assert {"python", "torch", "tokenizers"} <= set(manifest["versions"]) and manifest["seconds"] > 0
