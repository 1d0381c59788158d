"""What every text begins with, from the recipe to what is published."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from aurelius import run as run_pipeline
from aurelius.cli.main import main
from aurelius.config.settings import TokenizerSettings
from aurelius.errors import TokenizerError
from aurelius.export import gguf
from aurelius.export.gguf_file import check_tokenizer
from aurelius.files import read_json
from aurelius.inference.open_model import open_model
from aurelius.inference.run_model import RunModel
from aurelius.model.hf_folder import LlamaFolder
from aurelius.special_tokens import BOS, EOS, PREFIXES, SINK
from aurelius.tokenizer.load import load, special_tokens_of
from tests.conftest import TINY


@pytest.mark.parametrize(("prefix", "ids"), [("begin", [BOS]), ("end", [EOS])])
def test_another_prefix(tmp_path: Path, prefix: str, ids: list[int]):
    folder = run_pipeline(
        "pico", tmp_path / prefix, overrides={**TINY, "tokenizer.prefix": prefix}, device="cpu"
    )
    model = RunModel(folder.folder)
    assert model.prefix == ids
    published = folder.huggingface
    assert open_model(published).prefix == ids
    assert {BOS, SINK} - set(ids) <= set(model.suppressed)
    stock = AutoTokenizer.from_pretrained(published)
    assert stock("A cat sat.").input_ids == ids + model.encode("A cat sat.")
    assert stock.eos_token_id == EOS
    config = read_json(published / "config.json")
    assert special_tokens_of(config, load(published / "tokenizer.json"), "") == PREFIXES[prefix]
    with pytest.raises(TokenizerError, match="does not begin texts with `<sink> <s>`"):
        check_tokenizer(LlamaFolder.read(published))
    with pytest.raises(TokenizerError, match=f"tokenizer.prefix is {prefix}"):
        gguf.preflight(folder.recipe)
    assert "`<sink> <s>` before" not in (published / "README.md").read_text()
    assert main(["export", str(folder.folder), "--check"]) == 0


def test_an_existing_tokenizer_keeps_its_prefix():
    with pytest.raises(ValidationError, match="takes an existing one, with its prefix"):
        TokenizerSettings(source="there", prefix="begin")
