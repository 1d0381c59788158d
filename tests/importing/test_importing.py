import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aurelius.cli.main import main
from aurelius.corpus.readers.sources import open_path
from aurelius.errors import AureliusError
from aurelius.evaluation.likelihood import measure
from aurelius.importing.import_model import import_model
from aurelius.inference.generate import generate
from aurelius.inference.open_model import open_model
from aurelius.inference.run_model import RunModel
from aurelius.inference.sampling import Sampling
from aurelius.model.checkpoint_folder import newest_checkpoint
from aurelius.model.hf_folder import LlamaFolder
from aurelius.pipeline.run import run as run_pipeline

FEW = {"corpus.stories": 300}
TEXT = "Once upon a time, there was a little girl who liked 3 cats. \u201cOh!\u201d\n\nThe end"


@pytest.fixture(scope="module")
def imported(stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_model(stories260k, tmp_path_factory.mktemp("runs") / "foreign", overrides=FEW)


def test_the_run_is_the_model(imported: Path, stories260k: Path):
    run, stock = RunModel(imported, "cpu"), open_model(str(stories260k), "cpu")
    assert (run.prefix, run.end, run.context) == (stock.prefix, stock.end, stock.context) == ([1], 2, 512)
    assert run.encode(TEXT) == stock.encode(TEXT)
    ids = torch.tensor([run.prefix + run.encode(TEXT)])
    assert (run.logits(ids) - stock.logits(ids)).abs().max() < 1e-4


def test_its_bits_per_byte_are_those_of_the_folder(imported: Path, stories260k: Path, valid_sample: Path):
    stories = [text for text in open_path(valid_sample).stories if text][:40]
    ours, theirs = (measure(open_model(str(path), "cpu"), stories) for path in (imported, stories260k))
    assert ours.bits_per_byte_text == pytest.approx(theirs.bits_per_byte_text, rel=1e-4)
    assert 0.85 < ours.bits_per_byte_text < 1.0, "llama2.c's model is at 0.92 on the whole sample"


def test_exported_again_it_is_the_same_folder(imported: Path, stories260k: Path):
    overrides = {"evaluation.stories": 2}
    out = (
        run_pipeline(imported, overrides=overrides, to=("onnx",), device="cpu").folder / "export/huggingface"
    )
    before, after = load_file(stories260k / "model.safetensors"), load_file(out / "model.safetensors")
    before.pop("lm_head.weight", None)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    one, two = AutoTokenizer.from_pretrained(stories260k), AutoTokenizer.from_pretrained(out)
    assert one(TEXT).input_ids == two(TEXT).input_ids
    model = AutoModelForCausalLM.from_pretrained(out)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)


def test_training_starts_from_its_weights(imported: Path, tmp_path: Path):
    copy = Path(shutil.copytree(imported, tmp_path / "on"))
    steps = {"training.steps": 2, "optimizer.learning_rate": 1e-9, "optimizer.adamw_learning_rate": 1e-9}
    run = run_pipeline(copy, overrides=steps, until="training", update=True, device="cpu").folder
    before = load_file(newest_checkpoint(imported / "training") / "model.safetensors")
    after = load_file(newest_checkpoint(run / "training") / "model.safetensors")
    for name, value in before.items():
        assert np.abs(after[name] - value).max() < 1e-6
    lines = map(json.loads, (run / "training/metrics.jsonl").read_text().splitlines())
    assert next(line["valid_loss"] for line in lines if "valid_loss" in line) < 4.5, (
        "random weights are at 6.2 nats a token"
    )


def write_bin(folder: Path, out: Path) -> None:
    """Write a Hugging Face folder as llama2.c's checkpoint and tokenizer, after its export.py."""
    config = json.loads((folder / "config.json").read_text())
    w, model = (
        load_file(folder / "model.safetensors"),
        json.loads((folder / "tokenizer.json").read_text())["model"],
    )
    D, L, H = (config[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    K, T = config["num_key_value_heads"], config["max_position_embeddings"]
    header = (D, config["intermediate_size"], L, H, K, config["vocab_size"], T)

    def neighbours(x: np.ndarray, heads: int) -> np.ndarray:
        out = np.empty_like(x)
        width = len(x) // heads
        for head in range(heads):
            for i in range(width // 2):
                out[head * width + 2 * i] = x[head * width + i]
                out[head * width + 2 * i + 1] = x[head * width + width // 2 + i]
        return out

    parts = [w["model.embed_tokens.weight"]]
    first = ("input_layernorm", *(f"self_attn.{part}_proj" for part in "qkvo"))
    for name in (
        *first,
        "post_attention_layernorm",
        *(f"mlp.{part}_proj" for part in ("gate", "down", "up")),
    ):
        for layer in range(L):
            value = w[f"model.layers.{layer}.{name}.weight"]
            heads = {"self_attn.q_proj": H, "self_attn.k_proj": K}.get(name)
            parts.append(neighbours(value, heads) if heads else value)
    parts += [w["model.norm.weight"], np.zeros((T, D // H), np.float32)]
    out.mkdir(exist_ok=True)
    (out / "tiny.bin").write_bytes(struct.pack("<7i", *header) + b"".join(p.tobytes() for p in parts))
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    rows = [(float(-n), text.replace("▁", " ").encode()) for n, text in enumerate(tokens)]
    body = b"".join(struct.pack("<fi", score, len(text)) + text for score, text in rows)
    (out / "tokenizer.bin").write_bytes(struct.pack("<i", 16) + body)


def test_a_checkpoint_of_llama2c_becomes_the_same_model(
    stories260k: Path, tmp_path: Path, train_sample: Path
):
    write_bin(stories260k, tmp_path)
    run = RunModel(import_model(tmp_path / "tiny.bin", tmp_path / "run", overrides=FEW), "cpu")
    stock = open_model(str(stories260k), "cpu")
    for text in [TEXT, *list(open_path(train_sample).stories)[:200]]:
        assert run.encode(text) == stock.encode(text)
    ids = torch.tensor([run.prefix + run.encode(TEXT)])
    assert (run.logits(ids) - stock.logits(ids)).abs().max() < 1e-4
    folder = open_model(tmp_path / "run/imported", "cpu")
    assert (folder.prefix, folder.end) == (run.prefix, run.end) == ([1], 1)
    story = list(generate(run, "Once upon a time", Sampling(temperature=0, max_new_tokens=500)))
    assert len(story) < 450, "llama2.c's stories end where the next begins"


def test_what_cannot_be_imported_leaves_nothing(stories260k: Path, tmp_path: Path, capsys):
    write_bin(stories260k, tmp_path / "c")
    content = (tmp_path / "c/tiny.bin").read_bytes()
    (tmp_path / "c/cut.bin").write_bytes(content[:-4])
    (tmp_path / "c/text.bin").write_bytes(b"Once upon a time, there was a file that was no model at all.")
    (tmp_path / "c/newer.bin").write_bytes(b"24ka" + bytes(300))
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("years of work")
    cases = [
        (["nowhere"], "does not exist"),
        (["empty"], "lacks config.json, tokenizer.json"),
        (["c/cut.bin"], "is it truncated?"),
        (["c/text.bin"], "is not a llama2.c checkpoint"),
        (["c/tiny.bin", "--tokenizer", str(tmp_path / "none.bin")], "none.bin is missing"),
        (["c/tiny.bin", "--tokenizer", str(tmp_path / "c/text.bin")], "is not a llama2.c tokenizer.bin"),
        (["c/newer.bin"], "newer format"),
        (["c/tiny.bin", "--corpus", str(tmp_path / "nosuch.txt")], "nosuch.txt"),
        (["c/tiny.bin", "--set", "model.layers=2"], "keeps its shape"),
        ([str(stories260k), "--tokenizer", str(tmp_path / "c/tokenizer.bin")], "has its own tokenizer"),
    ]
    for (source, *more), words in cases:
        out = tmp_path / "out"
        assert main(["import", str(tmp_path / source), "--out", str(out), *more]) == 2
        assert words in capsys.readouterr().err
        assert not out.exists()
    assert main(["import", str(stories260k), "--out", str(tmp_path / "full")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    with pytest.raises(AureliusError):
        import_model(tmp_path / "empty", tmp_path / "out")


def test_a_run_is_not_imported(imported: Path, tmp_path: Path):
    with pytest.raises(AureliusError, match=r"is a run already; its model is .*huggingface"):
        import_model(imported, tmp_path / "run")


@pytest.mark.parametrize(
    "extra",
    [
        {"truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}},
        {
            "padding": {
                "strategy": {"Fixed": 300},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "<unk>",
            }
        },
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_truncation_and_padding_of_a_tokenizer_are_ignored(stories260k: Path, tmp_path: Path, extra: dict):
    folder = copied(stories260k, tmp_path / "folder")
    table = json.loads((folder / "tokenizer.json").read_text()) | extra
    (folder / "tokenizer.json").write_text(json.dumps(table))
    run = RunModel(import_model(folder, tmp_path / "run", overrides=FEW), "cpu")
    assert run.encode(TEXT) == open_model(str(stories260k), "cpu").encode(TEXT)
    stored = np.fromfile(tmp_path / "run/tokens/valid.bin", "<u2")
    assert len(stored) > 1000 and (stored == 0).mean() < 0.01


def test_how_an_export_samples_survives_its_import(tiny_run: Path, tmp_path: Path):
    run = import_model(tiny_run / "export/huggingface", tmp_path / "run", overrides={"corpus.stories": 100})
    before, after = (RunModel(each, "cpu").sampling for each in (tiny_run, run))
    assert after.model_copy(update={"max_new_tokens": before.max_new_tokens}) == before
    assert after.max_new_tokens == 0, "not published: it would override the max_length that a user passes"


def test_a_moved_run_trains_on(imported: Path, tmp_path: Path):
    moved = Path(shutil.copytree(imported, tmp_path / "moved"))
    changes = {"training.steps": 1, "evaluation.stories": 2}
    assert "training" in run_pipeline(moved, overrides=changes, update=True, device="cpu").done
    shutil.rmtree(moved / "imported")
    with pytest.raises(AureliusError, match="imported does not exist"):
        run_pipeline(moved, overrides={"training.steps": 2}, update=True, device="cpu")
    assert (moved / "training/manifest.json").exists(), "nothing was set aside"


def test_the_card_of_an_import_claims_nothing_of_ours(imported: Path):
    run = run_pipeline(imported, overrides={"evaluation.stories": 2}, device="cpu").folder
    card = (run / "export/huggingface/README.md").read_text()
    assert "the weights are as they were imported" in card and "None: the model was imported." in card
    for words in ("<sink>", "trailing space", "Muon", "{{", "made with Aurelius", "| corpus |", "its corpus"):
        assert words not in card


def copied(folder: Path, to: Path, **changes: object) -> Path:
    to = Path(shutil.copytree(folder, to))
    config = json.loads((to / "config.json").read_text()) | changes
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_bfloat16_weights_are_read(stories260k: Path, tmp_path: Path):
    folder = copied(stories260k, tmp_path / "half")
    weights = load_torch(folder / "model.safetensors")
    save_torch({name: w.bfloat16() for name, w in weights.items()}, folder / "model.safetensors")
    found = LlamaFolder.read(folder).weights
    for name, value in found.items():
        assert np.array_equal(value, weights[name].bfloat16().float().numpy())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eos_token_id": [1, 2]}, "set it to the one id that ends a story"),
        ({"eos_token_id": 5000}, "set it to the one id"),
        ({"bos_token_id": None}, "begins a story"),
        ({"rope_parameters": "default"}, "not a JSON object"),
        ({"max_position_embeddings": 4}, "context 4: Input should be greater than or equal to 8"),
    ],
)
def test_unsupported_configurations_are_refused(stories260k: Path, tmp_path: Path, changes: dict, words: str):
    folder = copied(stories260k, tmp_path / "folder", **changes)
    with pytest.raises(AureliusError) as caught:
        import_model(folder, tmp_path / "run", overrides=FEW)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_unusable_weights_are_refused(stories260k: Path, tmp_path: Path):
    folder = copied(stories260k, tmp_path / "folder")
    weights = load_file(folder / "model.safetensors")
    for spoilt, words in ((np.float32("nan"), "value that is not finite"), (np.int8(1), "is of type I8")):
        changed = weights | {"model.norm.weight": np.full(64, spoilt)}
        save_file(changed, folder / "model.safetensors")
        with pytest.raises(AureliusError, match=words):
            LlamaFolder.read(folder)
    (folder / "model.safetensors").unlink()
    for index, words in (
        ({}, "it has no weight_map"),
        ({"weight_map": {"a": 7}}, "7 cannot be read"),
        ({"weight_map": {"a": "../a.safetensors"}}, "which is not a file next to it"),
        (
            {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
            "00001-of-00002.safetensors cannot be read",
        ),
    ):
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(AureliusError, match=words):
            import_model(folder, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_sharded_weights_are_imported(imported: Path, stories260k: Path, tmp_path: Path):
    stock = AutoModelForCausalLM.from_pretrained(stories260k)
    folder = copied(stories260k, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    stock.save_pretrained(folder, max_shard_size="300KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    run = import_model(folder, tmp_path / "run", overrides=FEW)
    ours, expected = (newest_checkpoint(each / "training") / "model.safetensors" for each in (run, imported))
    assert all(np.array_equal(load_file(ours)[name], value) for name, value in load_file(expected).items())
    assert {path.name for path in (run / "imported").glob("model*")} == {
        p.name for p in folder.glob("model*")
    }
