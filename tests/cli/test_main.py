import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aurelius.cli import main as cli
from aurelius.cli import options as cli_options
from aurelius.cli.registry import commands, parse
from tests.conftest import TINY, Alarm

SETTINGS = [word for key, value in TINY.items() if key != "name" for word in ("--set", f"{key}={value}")]


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, its output and its complaint."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as stop:  # argparse
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_ends_with_a_story_and_says_where_things_are(capsys):
    code, out, err = call(capsys, "run", "pico", *SETTINGS, "--device", "cpu")
    assert code == 0 and "corpus: done in" in err
    assert "corpus: done" not in out, "progress goes to stderr, results to stdout"
    assert "Once upon a time, a little boy named Paco" in out
    for words in ("bits per byte", "runs/pico", "evaluation/report.json", "export/huggingface"):
        assert words in out
    code, out, err = call(capsys, "run", "pico", *SETTINGS)
    assert code == 0 and "nothing to do: runs/pico is up to date" in out
    code, out, _ = call(capsys, "run", "runs/pico")
    assert code == 0 and "nothing to do" in out


def test_each_stage_has_a_command(capsys, elsewhere: Path):
    for verb, folder in (
        ("corpus", "corpus"),
        ("tokenizer", "tokenizer"),
        ("pack", "tokens"),
        ("train", "training"),
    ):
        device = ("--device", "cpu") if verb == "train" else ()
        code, _, err = call(capsys, verb, "pico", *SETTINGS, *device, "--quiet")
        assert (code, err) == (0, "")
        assert (elsewhere / "runs/pico" / folder / "manifest.json").is_file()
    for verb, folder in (("evaluate", "evaluation"), ("export", "export/huggingface")):
        assert call(capsys, verb, "runs/pico", "--device", "cpu")[0] == 0
        assert (elsewhere / "runs/pico" / folder / "manifest.json").is_file()


def test_generate_prints_the_story_and_nothing_else(capsys, tiny_run: Path):
    options = ("--seed", "1", "--max-tokens", "24")  # an export does not publish the recipe's length
    first = call(capsys, "generate", str(tiny_run), "Once upon a time ", *options)
    again = call(capsys, "generate", str(tiny_run / "export/huggingface"), "Once upon a time ", *options)
    assert first[0] == again[0] == 0
    assert first[1] == again[1], "the run and its export tell the same story"
    assert (
        first[1].startswith("Once upon a time ")
        and first[1].endswith("\n")
        and first[1] == first[1].strip() + "\n"
    )
    assert "<" not in first[1]
    hot = ("--temperature", "2", "--min-p", "0", "--top-k", "50", "--top-p", "0.9", "--max-tokens", "5")
    assert call(capsys, "generate", str(tiny_run), *hot)[0] == 0


def test_evaluate_on_a_file(capsys, tiny_run: Path, elsewhere: Path):
    (elsewhere / "two.txt").write_text("A cat sat.\n<|endoftext|>\nA dog ran.\n<|endoftext|>\n")
    for model in (tiny_run, tiny_run / "export/huggingface"):
        code, out, _ = call(capsys, "evaluate", str(model), "--on", "two.txt", "--json")
        figures = json.loads(out)
        assert code == 0 and (figures["documents"], figures["bytes"]) == (2, 20)
    code, out, _ = call(capsys, "evaluate", str(tiny_run), "--on", "two.txt")
    assert code == 0 and "bits per byte" in out


def test_recipes_show_and_doctor(capsys):
    code, out, _ = call(capsys, "recipes")
    assert code == 0 and [line.split()[0] for line in out.splitlines()][:3] == ["pico", "nano-4k", "nano"]
    code, out, _ = call(capsys, "show", "pico", "--set", "training.steps=7")
    assert code == 0 and "steps = 7" in out
    for words in ("parameters        260,032", "tokens per step", "total tokens", "memory"):
        assert words in out
    assert "time here" not in out
    assert "time here         about" in call(capsys, "show", "pico", "--time")[1]
    code, out, _ = call(capsys, "doctor")
    assert code == 0 and "torch" in out and "GFLOP/s" in out


def test_no_arguments_print_the_help_with_examples(capsys):
    code, out, _ = call(capsys)
    assert code == 0 and "usage: aurelius" in out and "examples:" in out
    assert call(capsys, "--help") == call(capsys, "help") == (0, out, "")
    for command in commands():
        code, out, _ = call(capsys, *command.name.split(), "--help")
        assert code == 0 and f"usage: aurelius {command.name}" in out
        assert "--quiet" in out
    assert "--minutes" not in call(capsys, "corpus", "--help")[1], "each stage has its own options"


def test_every_example_in_the_help_is_a_command_line():
    for command in commands():
        for line in command.examples.splitlines():
            words = shlex.split(re.split(r"  +", line.split(" > ")[0])[0])
            assert parse(words[1:]).command == command.name, line


def test_arguments_may_stand_anywhere_and_begin_with_a_dash():
    options = parse(["generate", "demo", "--seed", "1", "Once upon"])
    assert (options.model, options.prompt, options.seed) == ("demo", "Once upon", 1)
    options = parse(["generate", "demo", "-Hello", "--temperature", "-1"])
    assert (options.prompt, options.temperature) == ("-Hello", -1)
    assert parse(["generate", "--seed", "1", "demo", "--", "--seed"]).prompt == "--seed"
    assert parse(["run", "--separator", "---", "nano"]).separator == "---"
    assert parse(["run", "nano", "--separator", "-- -"]).separator == "-- -"
    with pytest.raises(SystemExit):
        parse(["run", "nano", "--out", "--update"])


def test_a_short_name_stands_for_a_run_everywhere(capsys, elsewhere: Path, tiny_run: Path):
    shutil.copytree(tiny_run, elsewhere / "runs/my run")
    (elsewhere / "two.txt").write_text("A cat sat.\n<|endoftext|>\nA dog ran.\n")
    for arguments in (
        ("run", "my run"),
        ("evaluate", "my run"),
        ("evaluate", "my run", "--on", "two.txt"),
        ("generate", "my run", "--max-tokens", "2"),
        ("export", "my run"),
        ("watch", "my run", "--once"),
        ("show", "my run"),
        ("corpus inspect", "my run"),
        ("tokenizer inspect", "Once", "--model", "my run"),
    ):
        code, out, err = call(capsys, *arguments[0].split(), *arguments[1:])
        assert code == 0, err
        if arguments[0] == "run":
            assert "aurelius generate 'runs/my run' 'Once upon a time'" in out, "printed commands are quoted"
    code, _, err = call(capsys, "watch", "mine", "--once")
    assert code == 2 and "runs/ has my run" in err


def test_evaluate_says_how_it_read_the_file(capsys, elsewhere: Path, tiny_run: Path):
    (elsewhere / "two.txt").write_text("A cat sat.\n---\nA dog ran.\n")
    _, out, err = call(capsys, "evaluate", str(tiny_run), "--on", "two.txt", "--json")
    assert json.loads(out)["read_as"] == "text, split at lines of dashes or asterisks"
    assert "read two.txt as text, split at lines of dashes or asterisks: 2 documents" in err
    _, out, _ = call(capsys, "evaluate", str(tiny_run), "--on", "two.txt", "--separator", "cat", "--json")
    assert json.loads(out)["documents"] == 2 and json.loads(out)["read_as"] == "text, split at cat"


def test_the_seed_is_printed_unless_it_was_given(capsys, tiny_run: Path):
    code, story, err = call(capsys, "generate", str(tiny_run), "Once", "--temperature", "1")
    seed = re.match(r"seed (\d+)\n", err)
    assert code == 0 and seed
    again = call(capsys, "generate", str(tiny_run), "Once", "--temperature", "1", "--seed", seed[1])
    assert again[:2] == (0, story) and "seed" not in again[2]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(capsys, shell: str):
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0 and "generate" in out and "--min-p" in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True)


def test_help_does_not_wait_for_heavy_imports():
    code = (
        "import sys; from aurelius.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'pyarrow', 'numpy', 'rich', 'tokenizers'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: aurelius" in done.stdout


def test_python_gives_the_same(elsewhere: Path):
    import aurelius

    result = aurelius.run("pico", out="mine", overrides=TINY | {"corpus.stories": 300}, until="tokens")
    assert result.done == ["corpus", "tokenizer", "tokens"] and result.folder == Path("mine")


def mistakes(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Return mistakes of users: the command, and words of the answer."""
    (folder / "empty.txt").write_bytes(b"")
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    (folder / "one.txt").write_text("Once there was one story and no other one in all this file.")
    (folder / "few.txt").write_text("A cat sat on a mat and saw a dog.\n\nA dog sat on a log and saw a cat.")
    (folder / "typo.toml").write_text('name = "x"\n[training]\nstesp = 3\n')
    (folder / "other").mkdir()
    (folder / "other" / "recipe.toml").write_text("name = 'y")
    (folder / "hf").mkdir()
    (folder / "hf" / "config.json").write_text("{}")
    return {
        "missing corpus": (["run", "pico", "--corpus", "no.txt"], "no.txt does not exist"),
        "empty corpus": (["run", "pico", "--corpus", "empty.txt"], "is empty"),
        "binary corpus": (["run", "pico", "--corpus", "binary.txt"], "line 1 holds a zero byte"),
        "one story": (["run", "pico", "--corpus", "one.txt"], "1 usable stories of 1 read"),
        "few stories": (
            ["run", "pico", "--corpus", "few.txt", "--set", "corpus.min_words=2"],
            "a vocabulary of",
        ),
        "typo": (["run", "typo.toml"], "training.stesp"),
        "typo in --set": (["run", "nano", "--set", "training.stesp=3"], "did you mean 'steps'"),
        "no recipe": (["run", "nanoo"], "did you mean 'nano'"),
        "not TOML": (["run", "other"], "is not TOML"),
        "bad device": (["train", "pico", "--device", "gpu", *SETTINGS], "device 'gpu'"),
        "bad minutes": (["run", "pico", "--minutes", "-1"], "above 0"),
        "no minutes": (["run", "pico", "--minutes", "0"], "above 0"),
        "no corpus named": (["run", "pico", "--corpus", ""], "corpus.source = ''"),
        "a file for a folder": (["run", "pico", "--out", "one.txt"], "one.txt is a file"),
        "two values": (["show", "pico", "--set", "training.steps=5\nx=3"], "one value at a time"),
        "no model": (["generate", "nowhere"], "nowhere does not exist"),
        "broken model": (["generate", "hf"], "cannot be loaded"),
        "bad sampling": (["generate", "nowhere", "--min-p", "2"], "--min-p 2"),
        "evaluate on nothing": (["evaluate", "hf", "--on", "no.txt"], "no.txt does not exist"),
        "no verb": (["fly"], "there is no command 'fly'"),
        "typo in a command": (["genrate", "nano"], "did you mean 'generate'?"),
        "typo in an option": (["run", "nano", "--minuts", "3"], "did you mean --minutes?"),
        "not UTF-8": (["run", "nano", "--corpus", "a\udcff.txt"], "'a\\udcff.txt' is not valid UTF-8"),
        "unknown device": (
            ["train", "pico", "--device", "tpu", *SETTINGS],
            "device 'tpu' is unknown; use auto",
        ),
    }


CASES = (
    "missing corpus", "empty corpus", "binary corpus", "one story", "few stories", "typo", "typo in --set",
    "no recipe", "not TOML", "bad device", "bad minutes", "no minutes", "no corpus named",
    "a file for a folder", "two values", "no model", "broken model", "bad sampling",
    "evaluate on nothing", "no verb", "typo in a command", "typo in an option", "not UTF-8", "unknown device",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_misuse_exits_2_with_one_clear_complaint(capsys, elsewhere: Path, case: str):
    found = mistakes(elsewhere)
    assert set(found) == set(CASES)
    arguments, words = found[case]
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert words in err
    assert err.startswith("usage: ") or err.splitlines()[-1].startswith("aurelius: "), "one line"
    assert err.count("aurelius: ") == 1 or err.startswith("usage: ")
    assert not (elsewhere / "runs/pico/training").exists()


def test_another_recipes_folder_exits_2(capsys, tiny_run: Path):
    code, _, err = call(capsys, "run", "nano", "--out", str(tiny_run))
    assert (
        code == 2
        and "was made with a different recipe" in err
        and "model.d_model is 32 there and 128 here" in err
    )


def test_an_unwritable_folder_exits_1(capsys, elsewhere: Path):
    (elsewhere / "file").write_text("")
    code, _, err = call(capsys, "run", "pico", "--out", "file/run")
    assert code == 1 and "Not a directory" in err and "file/run" in err


LIMITED = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); "
    "from aurelius.cli.main import main; sys.exit(main(sys.argv[2:]))"
)


@pytest.mark.parametrize("limit", [20_000, 60_000])  # bytes: stops the corpus, the checkpoint
def test_a_write_that_fails_half_way_exits_1_and_can_be_resumed(capsys, elsewhere: Path, limit: int):
    command = [sys.executable, "-c", LIMITED, str(limit), "run", "pico", *SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr
    assert call(capsys, "run", "pico", *SETTINGS, "--device", "cpu")[0] == 0


def test_a_mistake_does_not_spoil_the_folder(capsys, elsewhere: Path):
    (elsewhere / "good.txt").write_text("\n\n".join(f"The cat number {n} sat on a mat." for n in range(99)))
    assert call(capsys, "corpus", "pico", "--corpus", "tpyo.txt")[0] == 2
    code, _, err = call(capsys, "corpus", "pico", "--corpus", "good.txt", "--set", "corpus.min_words=2", "-q")
    assert (code, err) == (0, "")


def test_options_without_effect_are_refused(capsys, tiny_run: Path):
    for arguments in (("--column", "text"), ("--on", "x.txt", "--minutes", "1")):
        code, _, err = call(capsys, "evaluate", str(tiny_run), *arguments)
        assert code == 2 and "has no effect" in err


def test_generate_samples_as_the_run_says(capsys, tiny_run: Path, tmp_path: Path):
    greedy = Path(shutil.copytree(tiny_run, tmp_path / "greedy"))
    recipe = (greedy / "recipe.toml").read_text().replace("temperature = 1.0", "temperature = 0.0")
    (greedy / "recipe.toml").write_text(recipe)
    stories = {call(capsys, "generate", str(greedy), "One day", "--seed", str(n))[1] for n in range(4)}
    assert len(stories) == 1
    assert call(capsys, "generate", str(greedy), "a\udcff")[0] == 2


def test_the_reader_of_a_pipe_may_close_it(tiny_run: Path):
    command = f"{sys.executable} -m aurelius recipes | head -c 1"
    done = subprocess.run(["bash", "-c", command + "; exit ${PIPESTATUS[0]}"], capture_output=True, text=True)
    assert done.returncode in (0, 1) and done.stderr == ""


def test_a_terminal_that_lacks_characters(tiny_run: Path):
    command = [sys.executable, "-m", "aurelius", "generate", str(tiny_run), "“Hello”", "--max-tokens", "2"]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0 and done.stdout.startswith("?Hello?") and "Traceback" not in done.stderr


def test_a_full_disk_exits_1(capsys, monkeypatch):
    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call(capsys, "run", "pico", *SETTINGS)
    assert code == 1 and "No space left on device" in err and "free some space" in err


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_exits_130_and_keeps_a_checkpoint(capsys, elsewhere: Path, monkeypatch):
    monkeypatch.setattr(cli_options, "reporter", lambda options: Alarm(signal.SIGINT, 5))
    long = ["--set", "training.steps=100000", "--set", "training.checkpoint_every=100000"]
    code, _, err = call(capsys, "run", "pico", *SETTINGS, *long, "--device", "cpu")
    assert code == 130 and "stopped by SIGINT at step" in err
    assert len(list((elsewhere / "runs/pico/training").glob("step-*"))) == 1


@pytest.mark.parametrize("command", ["run", "pack", "evaluate"])
def test_torchrun_wraps_training_only(capsys, elsewhere: Path, monkeypatch, command: str):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    code, out, err = call(capsys, command, "pico", *SETTINGS)
    assert (code, out) == (2, "") and err.count("\n") == 1
    for words in (
        f"cannot run 'aurelius {command}'",
        "aurelius pack",
        "-m aurelius train",
        "then aurelius run",
    ):
        assert words in err
    assert not (elsewhere / "runs").exists()


def test_under_torchrun_the_earlier_stages_must_be_done(capsys, elsewhere: Path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "aurelius", "train", "pico", "--device", "cpu", *SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, check=False)
    assert done.returncode != 0
    assert "torchrun only trains. First run, without torchrun: aurelius pack" in done.stderr


def test_an_old_setting_works_with_a_one_line_notice(capsys, elsewhere: Path):
    code, _, err = call(capsys, "corpus", "pico", *SETTINGS, "--set", "training.clip=0.5", "--quiet")
    assert code == 0
    assert err == "aurelius: note: override: training.clip is now called training.gradient_clip\n"
