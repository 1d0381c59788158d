"""The exported files in every runtime: a small trained model, real texts cut anywhere, odd texts."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from aurelius.cli.main import main
from aurelius.data.stories import StoryFile
from aurelius.errors import RunError
from aurelius.inference.run_model import RunModel
from aurelius.parity import check, compare
from aurelius.parity.registry import find_runtimes
from aurelius.parity.runtime import Runtime
from aurelius.publishing import hub

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def in_javascript():
    if not (NODE / "node_modules").is_dir():
        pytest.skip("no node_modules in tests/export/node: make test-long installs them")
    os.environ["AURELIUS_NODE"] = str(NODE)
    yield
    del os.environ["AURELIUS_NODE"]


@pytest.mark.long
def test_every_runtime_agrees(story_run: Path, in_javascript):
    rows, missing = check.check(story_run)
    assert missing == []
    assert {(row.runtime, row.kind) for row in rows} == {
        ("numpy", "fp32"),
        ("transformers", "fp32"),
        *(("onnxruntime", kind) for kind in ("fp32", "fp16", "int8", "q4")),
        *(("transformers.js", kind) for kind in ("fp32", "fp16", "int8", "q4")),
        *(("llama.cpp", kind) for kind in ("F32", "F16", "Q8_0", "Q4_0")),
    }
    for row in rows:
        assert row.problems == (), row
    compared = {
        row.runtime: int(re.findall(r"(?:of|identical,) (\d+)", row.greedy)[0]) for row in rows if row.greedy
    }
    assert set(compared) == {"transformers", "onnxruntime", "transformers.js", "llama.cpp"}
    assert min(compared.values()) >= 200, "the tokens of all greedy stories"
    (same_precision,) = (row for row in rows if (row.runtime, row.kind) == ("onnxruntime", "fp32"))
    gap = re.search(r"gap of the two likeliest ([\d.e+-]+)", same_precision.greedy)
    assert gap is None or float(gap[1]) < 1e-5, "in the same precision only a tie parts them"
    sizes = {(row.runtime, row.kind): row.bytes for row in rows}
    assert sizes["llama.cpp", "Q4_0"] < sizes["llama.cpp", "Q8_0"] < sizes["llama.cpp", "F16"]


@pytest.mark.long
def test_ids_are_equal_on_500_beginnings_and_on_hard_texts(
    story_run: Path, parity_texts: list[str], in_javascript
):
    """Where a runtime cannot cut as the others do is asserted: the list is no longer than it must."""
    model = RunModel(story_run, "cpu")
    asked = check.make_task(model, parity_texts, ["A cat sat on a mat."])
    own = check.own_answers(model, asked)
    tried = set()
    for runtime in find_runtimes(story_run):
        if not isinstance(runtime, Runtime) or runtime.kind not in ("fp32", "F32"):
            continue
        given = runtime.answer(asked)
        if given.ids is None or own.ids is None:
            continue
        tried.add(runtime.name)
        skip = 0 if runtime.adds_prefix else 2
        for text, found, expected in zip(asked.texts, given.ids, own.ids, strict=True):
            assert (found == expected[skip:]) != runtime.known_difference(text), (runtime.name, text[:50])
    assert tried == {"transformers", "transformers.js", "llama.cpp"}


@pytest.mark.long
def test_a_chat_with_llama_cpp_begins_as_training_did(story_run: Path, in_javascript):
    """The template types <s> and the last space; llama.cpp puts <sink> before all."""
    script = """
        import { getLlama, resolveChatWrapper, LlamaText } from "node-llama-cpp";
        process.execArgv = [];
        const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", progressLogs: false });
        const model = await llama.loadModel({ modelPath: process.argv[2] });
        const template = model.fileInfo.metadata.tokenizer.chat_template;
        const { Template } = await import("@huggingface/jinja");
        const messages = [{ role: "user", content: "Once upon a time" }];
        const text = new Template(template).render({ messages });
        console.log(JSON.stringify([model.tokens.shouldPrependBosToken, model.tokens.bos,
                                    ...model.tokenize(text, true)]));
        process.exit(0);
    """
    gguf = next((story_run / "export/gguf").glob("*-F32.gguf"))
    command = ["node", "--input-type=module", "-", str(gguf)]
    done = subprocess.run(command, input=script, cwd=NODE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = RunModel(story_run, "cpu")
    assert json.loads(done.stdout.splitlines()[-1]) == [
        True,
        *model.prefix,
        *model.encode("Once upon a time"),
    ]


@pytest.mark.long
def test_the_pipeline_of_transformers_js_begins_as_training_did(
    story_run: Path, in_javascript, tmp_path: Path
):
    """It adds ``<sink> <s>`` because of ``add_bos_token``; a folder saved by transformers 5 lacks that."""
    script = """
        import { pipeline, env } from "@huggingface/transformers";
        env.allowRemoteModels = false; env.localModelPath = "/";
        const found = [];
        for (const [folder, options] of JSON.parse(process.argv[2])) {
          const write = await pipeline("text-generation", folder, { dtype: "fp32", device: "cpu" });
          const generate = write.model.generate.bind(write.model);
          write.model.generate = (inputs) => {
            found.push(Array.from(inputs.input_ids.data, Number));
            return generate(inputs);
          };
          await write("Once upon a time", { max_new_tokens: 2, ...options });
        }
        console.log(JSON.stringify(found));
    """
    folder, saved = story_run / "export/onnx", tmp_path / "saved"
    shutil.copytree(folder, saved)
    AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
    asked = [(str(folder), {}), (str(saved), {}), (str(saved), {"add_special_tokens": True})]
    command = ["node", "--input-type=module", "-", json.dumps(asked)]
    done = subprocess.run(command, input=script, cwd=NODE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = RunModel(story_run, "cpu")
    story = model.encode("Once upon a time")
    complete = [*model.prefix, *story]
    assert json.loads(done.stdout.splitlines()[-1]) == [complete, story, complete]


@pytest.mark.long
def test_transformers_js_reads_typed_special_tokens_as_transformers_does(story_run: Path, in_javascript):
    texts = [
        "a </s> b <s> c <sink> d <unk> <0x41>",
        "A dog ran.</s>Then a cat sat.",
        "A dog ran. </s> Then a cat sat.</s>\n",
        "<sink> <s> A dog ran.",
    ]
    script = """
        import { AutoTokenizer, env } from "@huggingface/transformers";
        env.allowRemoteModels = false; env.localModelPath = "/";
        const tokenizer = await AutoTokenizer.from_pretrained(process.argv[2]);
        const ids = (text) => Array.from(tokenizer(text).input_ids.data, Number);
        console.log(JSON.stringify(JSON.parse(process.argv[3]).map(ids)));
    """
    folder = story_run / "export/huggingface"
    command = ["node", "--input-type=module", "-", str(folder), json.dumps(texts)]
    done = subprocess.run(command, input=script, cwd=NODE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert json.loads(done.stdout.splitlines()[-1]) == [tokenizer(text).input_ids for text in texts]


@pytest.mark.long
def test_every_snippet_of_the_card_runs(story_run: Path, in_javascript, tmp_path: Path):
    """As they stand, but that the model's name on the hub becomes the folder that would be there."""
    folder = hub.assemble(story_run, [], "someone/tales", "mit").folder
    card = (folder / "README.md").read_text().replace('snapshot_download("someone/tales")', repr(str(folder)))
    card = card.replace("someone/tales", str(folder)).replace(
        "pico-Q8_0.gguf", str(folder / "pico-Q8_0.gguf")
    )
    snippets = re.findall(r"```(python|javascript)\n(.*?)```", card, re.S)
    assert [language for language, _ in snippets].count("javascript") == 2 and len(snippets) == 6
    for language, code in snippets:
        command, cwd = [sys.executable, "-"], tmp_path
        if language == "javascript":
            cwd = NODE
            command = ["node", "--input-type=module", "-"]
            if "transformers" in code:
                local = "env.allowRemoteModels = false; env.localModelPath = '/';"
                code = f"import {{ env }} from '@huggingface/transformers'; {local}\n{code}"
            else:
                code = code.replace(
                    "await getLlama()", "(process.execArgv = [], await getLlama({ gpu: false }))"
                )
        done = subprocess.run(
            command, input=code, cwd=cwd, capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        assert len(done.stdout.split()) > 8, code


def test_without_an_export_there_is_nothing_to_check(tmp_path: Path):
    with pytest.raises(RunError, match="has no finished export"):
        check.check(tmp_path)


@pytest.mark.parametrize("command", [["export", "RUN"], ["publish", "RUN", "someone/tales"]])
def test_a_run_without_a_finished_training_is_refused(
    tiny_run: Path, tmp_path: Path, capsys, command: list[str]
):
    run = Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
    (run / "training/manifest.json").unlink()
    shutil.rmtree(run / "export")
    assert main([str(run) if word == "RUN" else word for word in command]) == 2
    assert "has not finished training" in capsys.readouterr().err
    assert not (run / "export").exists()


def test_a_disagreement_is_found(tiny_run: Path):
    """The check can fail: answers that are off are called problems."""
    model = RunModel(tiny_run, "cpu")
    stories = ["A cat sat on a mat.", "A dog ran."]
    asked = check.make_task(model, [*check.HARD_TEXTS, *check.beginnings(stories, 5)], stories)
    own = check.own_answers(model, asked)
    file = tiny_run / "export/huggingface/model.safetensors"
    runtime = Runtime("transformers", "huggingface", "fp32", file, lambda task: own)
    timed = replace(own, seconds=1.0)
    assert compare.compare(runtime, timed, model, own, asked, stories).problems == ()
    assert own.ids and own.greedy
    spoilt = {
        "different ids": {"ids": [ids[:-1] for ids in own.ids]},
        "max logit difference": {"logits": [logits + 0.01 for logits in own.logits]},
        "greedy": {"greedy": [[5 if token != 5 else 6 for token in ids] for ids in own.greedy]},
    }
    for words, change in spoilt.items():
        row = compare.compare(runtime, replace(timed, **change), model, own, asked, stories)
        assert len(row.problems) == 1 and row.problems[0].startswith(words)
    coarse = replace(runtime, target="onnx", kind="int8")
    worse = replace(timed, logits=[logits * 0.5 for logits in own.logits])
    assert "bits per byte" in compare.compare(coarse, worse, model, own, asked, stories).problems[0]


def test_greedy_stories_have_200_tokens_or_say_where_they_diverge(tiny_run: Path):
    """A model that ends its stories at once is asked for more of them."""
    model = RunModel(tiny_run, "cpu")
    stories = [check.shortened(model, text) for text in StoryFile(tiny_run / "corpus", "valid", limit=24)]
    asked = check.make_task(model, [], stories)
    own = check.own_answers(model, asked).greedy or []
    lengths = [len(ids) for ids in own]
    assert len(own) == len(asked.openings) > 4 and sum(lengths) >= check.GREEDY_TOKENS > sum(lengths[:-1])
    assert len({tuple(ids) for ids in asked.openings}) == len(asked.openings)
    assert compare.compare_greedy(own, own, model, asked.openings, 0.0) == (
        f"identical, {sum(lengths)}",
        True,
    )
    off = [list(ids) for ids in own]
    off[2][-1] = 5 if own[2][-1] != 5 else 6
    told, good = compare.compare_greedy(off, own, model, asked.openings, 0.0)
    assert not good and told.startswith(f"diverges at token {sum(lengths[:3]) - 1} of {sum(lengths)} (")
    assert compare.compare_greedy(off, own, model, asked.openings, 100.0) == (told, True), "a tie"


def test_a_runtime_that_does_not_stop_at_the_end_of_the_story_is_caught(tiny_run: Path):
    model = RunModel(tiny_run, "cpu")
    opening, own = model.prefix, [10, 11, 1]  # 1 ends a story
    for story, good in (
        ([10, 11, 1], True),
        ([10, 11], True),
        ([10, 11, 1, 12], False),
        ([10, 11, 1, 1], False),
    ):
        told, found = compare.compare_greedy([story], [own], model, [opening], 100.0)
        assert found is good, story
        assert ("goes on after the end of the story at token 3 of 3" in told) is not good


def test_the_command_fails_with_a_runtime(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Exit code 2 and a line for answers that are off, and for a runtime that breaks."""
    file = tiny_run / "export/huggingface/model.safetensors"

    def off(task):
        own = check.own_answers(RunModel(tiny_run, "cpu"), task)
        return replace(own, seconds=1.0, logits=[logits + 0.01 for logits in own.logits])

    def broken(task):
        raise ValueError("what it says:\n  no such operator\n  and more")

    for answer, words in (
        (off, "1 out of tolerance: x fp32: max logit"),
        (broken, "says: no such operator\n"),
    ):
        monkeypatch.setattr(
            check, "find_runtimes", lambda run, a=answer: [Runtime("x", "huggingface", "fp32", file, a)]
        )
        assert main(["export", str(tiny_run), "--check", "--device", "cpu"]) == 2
        assert words in capsys.readouterr().err


def test_unfinished_files_are_neither_checked_nor_published(tiny_run: Path, tmp_path: Path):
    run = Path(shutil.copytree(tiny_run, tmp_path / "tiny"))
    for name in ("onnx/onnx/model.onnx", "gguf/tiny-Q5_K.gguf"):
        (run / "export" / name).parent.mkdir(parents=True)
        (run / "export" / name).write_bytes(b"half of it")
    assert {r.name for r in find_runtimes(run) if isinstance(r, Runtime)} == {"numpy", "transformers"}
    assert not {".onnx", ".gguf"} & {Path(name).suffix for name in hub.assemble(run, [], "a/b", "").files}


def test_the_command_prints_one_table(tiny_run: Path, tmp_path: Path, capsys):
    run = shutil.copytree(tiny_run, tmp_path / "tiny")
    assert main(["export", str(run), "--to", "onnx,gguf", "--check", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "left out, Q8_0" in err
    for words in (
        "onnxruntime",
        "numpy",
        "transformers",
        "skipped: llama.cpp",
        "files within tolerance",
    ):
        assert words in out
    assert (run / "export/onnx/manifest.json").exists() and (run / "export/gguf/manifest.json").exists()
    assert main(["export", str(run), "--to", "onnx"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["export", str(run), "--to", "coreml"]) == 2
    assert "the targets are huggingface, onnx, gguf" in capsys.readouterr().err
