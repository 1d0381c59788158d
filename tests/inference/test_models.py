"""Folders of causal language models, whole and not."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from aurelius.cli.main import main
from aurelius.errors import ModelError
from aurelius.inference.open_model import open_model
from aurelius.inference.run_model import RunModel
from aurelius.inference.sampling import Sampling, sampling_of
from aurelius.inference.stock_llama import StockLlama
from aurelius.inference.transformers_model import TransformersModel


@pytest.fixture
def folder(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run / "export/huggingface", tmp_path / "folder"))


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_path_and_its_text_open_the_same(tiny_run: Path, folder: Path):
    assert isinstance(open_model(tiny_run, "cpu"), RunModel)
    assert isinstance(open_model(str(tiny_run), "cpu"), RunModel)
    assert isinstance(open_model(folder, "cpu"), StockLlama)
    change(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    assert isinstance(open_model(folder, "cpu"), TransformersModel), "it would change the tokenizer"


def test_missing_weights_are_not_made_up(folder: Path):
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if ".layers.1." not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights that its config.json calls for: .*layers\.1\."):
        open_model(folder, "cpu")


def test_no_weights_are_left_out(folder: Path):
    change(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"weights that its config.json does not mention: .*layers\.1\."):
        open_model(folder, "cpu")


def test_a_tokenizer_of_another_model(folder: Path, capsys: pytest.CaptureFixture):
    table = json.loads((folder / "tokenizer.json").read_text())
    words = table["model"]["vocab"]
    table["model"]["vocab"] = {text: id_ + 5000 * (id_ >= 260) for text, id_ in words.items()}
    (folder / "tokenizer.json").write_text(json.dumps(table))
    assert main(["generate", str(folder), "e e e", "--device", "cpu"]) == 2
    assert (
        "but the model has only 420; this tokenizer does not belong to this model" in capsys.readouterr().err
    )


def test_how_a_folder_samples():
    assert sampling_of({"temperature": 0.9}, "x") == Sampling(), "it does not say that it samples"
    stock = Sampling(temperature=0.8, min_p=0, top_k=50, top_p=1)
    assert sampling_of({"do_sample": True, "temperature": 0.8, "min_p": None}, "x") == stock
    own = Sampling(temperature=0.7, top_k=0, max_new_tokens=9)
    assert sampling_of(own.model_dump() | {"do_sample": True}, "x") == own


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"temperature": "hot"}, {"top_k": 5.5}, {"min_p": 1.5}])
def test_impossible_sampling_is_refused(wrong: dict):
    with pytest.raises(ModelError, match=rf"^f/generation_config.json has {next(iter(wrong))} "):
        sampling_of({"do_sample": True, **wrong}, "f/generation_config.json")


def test_the_end_of_a_story_may_be_named_in_the_model_only(folder: Path):
    change(folder / "tokenizer_config.json", eos_token=None)
    model = open_model(folder, "cpu")
    assert isinstance(model, StockLlama) and model.end == 1 and 1 not in model.suppressed


def test_a_folder_writes_as_transformers_model_does(folder: Path):
    ours, stock = open_model(folder, "cpu"), TransformersModel(str(folder), "cpu")
    assert (ours.prefix, ours.end, ours.unknown, ours.suppressed) == (
        stock.prefix, stock.end, stock.unknown, stock.suppressed,
    )  # fmt: skip
    for text in ("", "Once upon a </s> time", "😀 é", "a  b\n"):
        for parse in (False, True):
            assert ours.encode(text, parse) == stock.encode(text, parse)
    logits = [model.next_token_logits([3, 0, 300, 301], model.new_cache()) for model in (ours, stock)]
    assert logits[0] == pytest.approx(logits[1], abs=1e-5)
