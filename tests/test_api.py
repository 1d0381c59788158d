"""What ``import aurelius`` offers, and how little it imports."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import aurelius
from aurelius.errors import RunError

NAMES = (
    "SILENT", "AureliusError", "Recipe", "RunFolder", "Sampling",
    "generate", "measure", "open_model", "open_run", "report", "run", "stories",
)  # fmt: skip


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_dir_shows_the_api_and_every_name_resolves():
    assert set(NAMES) == set(aurelius.__all__) <= set(dir(aurelius))
    for name in dir(aurelius):
        assert getattr(aurelius, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        aurelius.nonsense  # noqa: B018


def test_submodules_are_reachable_without_importing_them():
    code = "import aurelius as a; print(a.training.__name__, a.corpus.__name__, a.export.__doc__)"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("aurelius.training aurelius.corpus Stage 6")


def test_help_names_the_api():
    shown = python("import aurelius; help(aurelius)").stdout
    for name in ("open_run", "open_model", "aurelius.run("):
        assert name in shown


def test_listing_the_api_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'pyarrow', 'pydantic', 'numpy'}"
    assert (
        python(f"import sys, aurelius; dir(aurelius); sys.exit(bool({heavy} & set(sys.modules)))").returncode
        == 0
    )


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("aurelius.model.llama", ["pyarrow", "rensa", "transformers", "tokenizers", "huggingface_hub"]),
        ("aurelius.data.blocks", ["pyarrow", "rensa", "transformers", "torch"]),
        ("aurelius.pipeline.run_folder", ["torch", "pyarrow", "transformers"]),
        ("aurelius.config.recipe", ["torch", "numpy", "pyarrow"]),
    ],
)
def test_a_module_imports_only_what_it_needs(module: str, unwanted: list[str]):
    done = python(f"import sys, {module}; print(sorted(set({unwanted}) & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_init_files_hold_no_logic():
    """But for the lazy names of the package itself and the storyteller's functions."""
    root = Path(aurelius.__file__).parent
    for file in root.rglob("__init__.py"):
        if file.parent in (root, root / "corpus/storyteller"):
            continue
        lines = [
            line for line in file.read_text().splitlines() if line and not line.startswith(("from", "import"))
        ]
        assert len(lines) == 1 and lines[0].startswith('"""'), file


def test_a_run_opens_by_name_and_describes_itself(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/tiny").symlink_to(tiny_run)
    monkeypatch.chdir(tmp_path)
    run = aurelius.open_run("tiny")
    assert run.folder == Path("runs/tiny") and run.recipe.name == "tiny"
    assert run.report["documentwise"]["documents"] == 3
    assert [line["step"] for line in run.metrics][-1] == 12
    assert run.model("cpu").context == 48
    story = run.story("Once upon a time", seed=1, device="cpu", max_new_tokens=5)
    assert story.startswith("Once upon a time") and story == run.story(
        "Once upon a time", 1, "cpu", max_new_tokens=5
    )
    lines = repr(run).splitlines()
    assert len(lines) == 3 and "tiny" in lines[0] and "12 steps" in lines[1] and "bits per byte" in lines[2]
    with pytest.raises(RunError, match="nowhere is not a run folder"):
        aurelius.open_run("nowhere")


def test_a_run_that_has_only_begun_says_so(tmp_path: Path):
    run = aurelius.run("pico", tmp_path / "run", overrides={"corpus.stories": 300}, until="corpus")
    assert "not finished" in repr(run) and "not evaluated yet" in repr(run)
    assert run.metrics == []
    with pytest.raises(RunError, match=r"report\.json is missing"):
        run.report  # noqa: B018


def test_public_functions_are_documented():
    for name in NAMES:
        assert (getattr(aurelius, name).__doc__ or "").strip(), name
    assert import_module("aurelius.cli.main").__doc__
