from pathlib import Path

import pytest

from aurelius.cli.main import main
from aurelius.config.settings import TokenizerSettings
from aurelius.corpus import storyteller
from aurelius.errors import TokenizerError
from aurelius.tokenizer.inspect import inspect
from aurelius.tokenizer.suffix_bpe import train

STORIES = list(storyteller.stories(300))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train(STORIES, TokenizerSettings(vocab_size=700, max_characters=60))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_the_figures_of_an_inspection(folder: Path):
    cut = inspect(folder, ["Once upon a café", *STORIES[:50]])
    assert "".join(piece for piece, _ in cut.pieces).replace("<0xC3><0xA9>", "é") == "Once upon a café "
    assert cut.texts == 51 and cut.vocab_size == 700
    assert inspect(folder, ["Once upon a café"]).byte_tokens == 2
    assert cut.bytes == len("Once upon a café".encode()) + sum(len(text.encode()) for text in STORIES[:50])
    assert 2 < cut.bytes_per_token < 4
    assert len(cut.longest[0]) >= len(cut.longest[-1]) > 4


def test_tokens_that_no_text_uses(folder: Path):
    unused = inspect(folder, ["Once upon a time"]).unused
    assert 400 < len(unused) < 444 and "upon " not in unused
    assert len(inspect(folder, STORIES).unused) < 40


def test_a_text_a_file_and_no_tokenizer(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.txt").write_text("One day.\n<|endoftext|>\nTwo days.\n")
    assert main(["tokenizer", "inspect", str(tmp_path / "a.txt"), "--model", str(folder)]) == 0
    assert "2, 17 bytes" in " ".join(capsys.readouterr().out.split())
    assert main(["tokenizer", "inspect", "One day", "--model", str(folder / "tokenizer.json")]) == 0
    assert "day␣" in capsys.readouterr().out
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    latin = ["tokenizer", "inspect", str(tmp_path / "latin.txt"), "--model", str(folder)]
    assert main(latin) == 2 and "--encoding-errors replace" in capsys.readouterr().err
    assert main([*latin, "--encoding-errors", "replace"]) == 0
    with pytest.raises(TokenizerError, match="or such a file"):
        inspect(tmp_path / "nowhere", [])
    with pytest.raises(TokenizerError, match="surrogate"):
        inspect(folder, ["\ud83d"])


def test_the_newest_run_is_taken(folder: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tokenizer", "inspect", "One day"]) == 2
    assert "--model" in capsys.readouterr().err
    place = tmp_path / "runs" / "small" / "tokenizer"
    place.mkdir(parents=True)
    (place / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert main(["tokenizer", "inspect", "One day"]) == 0
    assert "runs/small" in capsys.readouterr().out
