"""Runs of older versions, renamed keys, and fields that only operate a run."""

import json
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from aurelius.config import compatibility
from aurelius.config.compatibility import RENAMED, fill_in, modernise
from aurelius.config.recipe import SECTIONS, Recipe
from aurelius.config.settings import Section, is_operational, operational
from aurelius.errors import RunError
from aurelius.pipeline.run import run
from aurelius.progress import Progress

OLD = Path(__file__).with_name("old_run.tar.gz")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Unpack a run that version 0.1 wrote before its keys were renamed (commit 2eb7d13)."""
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "old"


class Notes(Progress):
    def __init__(self):
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_an_old_run_is_up_to_date_and_says_nothing(old: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(old, verify=True).done == []
        recipe = Recipe.load(old)
    assert recipe.optimizer.model_dump() == {
        "name": "muon", "learning_rate": 0.015, "momentum": 0.9, "adamw_learning_rate": 0.004,
        "beta1": 0.9, "beta2": 0.97, "weight_decay": 0.2,
    }  # fmt: skip
    assert recipe.corpus.near_duplicates == "together"
    assert (recipe.training.gradient_clip, recipe.training.max_loss_rise) == (0.9, 2.0)
    assert recipe.training.keep_checkpoints == 1


def test_an_old_run_redoes_its_evaluation_and_export_with_todays_code(old: Path):
    assert run(old, overrides={"evaluation.stories": 1}, update=True, device="cpu").done == [
        "evaluation",
        "export",
    ]


def test_an_old_checkpoint_resumes(old: Path):
    """The stage has no manifest any more, but its checkpoint is that of the last step."""
    (old / "training/manifest.json").unlink()
    progress = Notes()
    assert run(old, until="training", device="cpu", progress=progress).done == ["training"]
    assert "training resumes from step 8" in progress.notes


def test_an_old_run_still_notices_a_real_change(old: Path):
    with pytest.raises(RunError, match=r"optimizer\.learning_rate is 0\.015 there and 0\.02 here"):
        run(old, overrides={"optimizer.learning_rate": 0.02})
    (old / "recipe.toml").write_text(
        (old / "recipe.toml").read_text().replace("momentum = 0.9 ", "momentum = 0.8 ")
    )
    with pytest.raises(RunError, match="was made with another recipe"):
        run(old)


@pytest.mark.parametrize("key", sorted(RENAMED))
def test_every_old_key_works_with_a_notice(key: str, tmp_path: Path):
    section, name = key.split(".")
    old: dict[str, Any] = {
        "near": "keep", "keep": 3, "clip": 0.5, "spike": 2.5, "optimizer": "adamw", "weight_decay": 0.3,
        "beta1": 0.8, "beta2": 0.9, "momentum": 0.7, "muon_learning_rate": 0.03, "learning_rate": 0.003,
    }  # fmt: skip
    with pytest.warns(FutureWarning, match=f"{key} is now called {RENAMED[key]}"):
        recipe = Recipe.load("pico", {key: old[name]})
    assert recipe.flat()[RENAMED[key]] == old[name]
    shown = json.dumps(old[name])
    text = "[model]\nlayers = 1\nd_model = 8\nd_mlp = 8\nheads = 2\nkv_heads = 1\ncontext = 16\n"
    training = "[training]\nsteps = 1\n" + (f"{name} = {shown}\n" if section == "training" else "")
    corpus = f"[corpus]\n{name} = {shown}\n" if section == "corpus" else ""
    (tmp_path / "mine.toml").write_text(f'name = "mine"\n{corpus}{text}{training}')
    with pytest.warns(FutureWarning, match=f"mine.toml: {key} is now called {RENAMED[key]}"):
        assert Recipe.load(tmp_path / "mine.toml").flat()[RENAMED[key]] == old[name]


def test_an_old_adamw_recipe_keeps_its_only_rate():
    with pytest.warns(FutureWarning):
        recipe = Recipe.load("nano", {"training.optimizer": "adamw", "training.learning_rate": 0.003})
    assert recipe.optimizer.model_dump() == {
        "name": "adamw", "learning_rate": 0.003, "beta1": 0.9, "beta2": 0.98, "weight_decay": 0.1,
    }  # fmt: skip
    table, notices = modernise({"training": {"optimizer": "adamw", "muon_learning_rate": 0.02}})
    assert table == {"training": {}, "optimizer": {"name": "adamw"}}
    assert "training.muon_learning_rate has no effect with the optimizer adamw" in notices


def test_another_optimizer_starts_from_its_own_defaults():
    assert Recipe.load("nano").optimizer.learning_rate == 0.01
    assert Recipe.load("nano", {"optimizer.name": "adamw"}).optimizer.learning_rate == 0.002
    changed = Recipe.load("nano", {"optimizer.name": "adamw", "optimizer.learning_rate": 0.001})
    assert changed.optimizer.learning_rate == 0.001


class Newer(Section):
    """A section in which a field was added after the first runs, and its default changed since."""

    width: int = 8
    depth: int = Field(default=4, json_schema_extra={"introduced": 2})
    noise: int = operational(default=1)


def test_a_missing_field_has_the_value_it_was_introduced_with(monkeypatch: pytest.MonkeyPatch):
    assert fill_in(Newer, {"width": 9}) == {"width": 9, "depth": 2, "noise": 1}
    sections = {"newer": Newer}
    before = compatibility.deciding({"newer": {"width": 9}}, sections)
    assert before == compatibility.deciding({"newer": {"width": 9, "depth": 2, "noise": 5}}, sections)
    assert before != compatibility.deciding({"newer": {"width": 9, "depth": 4}}, sections)


OPERATIONAL = [
    f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields
    if is_operational(section, key)
]  # fmt: skip


def test_the_fields_that_only_operate_a_run():
    assert set(OPERATIONAL) == {
        f"training.{key}"
        for key in (
            "accumulate", "max_loss_rise", "log_every", "validate_every", "validate_blocks",
            "checkpoint_every", "keep_checkpoints", "engine",
        )
    } | {"export.corpus_license", "export.large_page"}  # fmt: skip


@pytest.mark.parametrize("key", OPERATIONAL)
def test_an_operational_field_may_change_on_an_existing_run(key: str, tiny_run: Path, tmp_path: Path):
    import shutil

    copy = Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
    values = {"training.accumulate": 2, "training.max_loss_rise": 9.0, "training.engine": "autograd"}
    values |= {"export.corpus_license": "mit", "export.large_page": True}
    value = values.get(key, 3)
    progress = Notes()
    assert run(copy, overrides={key: value}, progress=progress).done == []
    assert Recipe.load(copy).flat()[key] == value
    assert any(
        f"changed {key} from" in note and "nothing has to be redone" in note for note in progress.notes
    )
    assert run(copy).done == []


def test_training_resumes_with_other_micro_batches_and_says_what_that_means(tiny_run: Path, tmp_path: Path):
    import shutil

    copy = Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
    (copy / "training/manifest.json").unlink()
    shutil.rmtree(copy / "training/step-000012")
    progress = Notes()
    changes = {"training.accumulate": 2, "training.log_every": 3}
    assert run(copy, overrides=changes, until="training", device="cpu", progress=progress).done == [
        "training"
    ]
    assert any("rounded differently" in note for note in progress.notes)
    assert any("micro-batches 1 (now 2)" in text and "not bit for bit" in text for text in progress.warnings)
    assert json.loads((copy / "training/step-000012/state.json").read_text())["pieces"] == 2
