import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from aurelius.corpus.readers import reader
from aurelius.corpus.readers.reader import ReadOptions
from aurelius.corpus.readers.sources import open_path
from aurelius.errors import CorpusError


def documents(path: Path, **options) -> list[str]:
    return list(open_path(path, ReadOptions(**options)).stories)


def tar(path: Path, members: dict[str, str | bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, content in members.items():
            content = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def test_a_tar_of_json_shards_is_read_without_unpacking(tmp_path: Path):
    """As the hub has TinyStories_all_data: data00.json and so on, each an array of objects."""
    members = {
        "data00.json": json.dumps([{"story": "One.", "source": "GPT-4"}, {"story": "\n\nTwo."}]),
        "../../evil.json": json.dumps([{"story": "Three."}]),
        "notes.md": "not read",
        "more/a.txt": "Four.\n<|endoftext|>\nFive.",
    }
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert documents(tmp_path / "all.tar.gz", column="story") == ["One.", "Two.", "Three.", "Four.", "Five."]
    assert [path.name for path in tmp_path.iterdir()] == ["all.tar.gz"]
    content = (tmp_path / "all.tar.gz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorpusError, match=r"cut\.tgz"):
        documents(tmp_path / "cut.tgz", column="story")


@pytest.mark.parametrize("longest", [reader.MAX_BYTES, 64])  # in memory, or as a file without a name
def test_a_text_in_a_tar_is_read_as_outside(tmp_path: Path, monkeypatch, longest: int):
    monkeypatch.setattr(reader, "MAX_BYTES", longest)
    text = "\n\n".join(f"Story {n}.\nIt ends." for n in range(20))
    (tmp_path / "a.txt").write_text(text)
    stories = documents(tmp_path / "a.txt")
    assert len(stories) == 20
    assert documents(tar(tmp_path / "a.tar", {"a.txt": text})) == stories
    marked: dict[str, str | bytes] = {
        "a.txt": text.replace("\n\n", "<|endoftext|>"),
        "b.txt": "One.\n\nStill one.\n</s>\nTwo.",
    }
    assert documents(tar(tmp_path / "b.tar", marked)) == [*stories, "One.\n\nStill one.", "Two."]


def test_short_files_of_a_tar_without_marks_are_stories(tmp_path: Path):
    files = {"a.txt": "One.\n\nStill one.", "._a.txt": b"\x00\x05\x16", "LICENSE.txt": "MIT", "b.txt": "Two."}
    source = open_path(tar(tmp_path / "a.tar", files))
    assert list(source.stories) == ["One.\n\nStill one.", "Two."]
    assert source.skipped[0] == ["._a.txt", "LICENSE.txt"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "id,story\n1,One.\n2,Two.\n", "is a table in CSV"),
        ("a.txt", b"caf\xe9", "is not UTF-8 text: byte 0xe9 at 3"),
        ("a.json", b'["caf\xe9"]', "is not UTF-8 text: byte 0xe9 at 5"),
        ("a.json", json.dumps(["x" * 1001]), "row 1 is longer than"),
        ("a.json", gzip.compress(b'["One."]'), "is compressed with gzip; unpack it"),
        ("a.jsonl", '["One."]', "begins with an array"),
    ],
)
def test_problems_in_a_tar_are_named(tmp_path: Path, monkeypatch, name: str, content, words: str):
    monkeypatch.setattr(reader, "MAX_BYTES", 1000)
    with pytest.raises(CorpusError) as caught:
        documents(tar(tmp_path / "all.tar", {name: content}))
    assert f"all.tar: {name}" in str(caught.value) and words in str(caught.value)


def test_replaced_bytes_in_a_tar(tmp_path: Path):
    path = tar(tmp_path / "a.tar", {"a.json": b'["caf\xe9"]', "b.txt": b"caf\xe9"})
    assert documents(path, encoding_errors="replace") == ["caf\ufffd"] * 2


def test_a_tar_without_stories_names_what_it_holds(tmp_path: Path):
    path = tar(tmp_path / "a.tar", {f"{n}.json.gz": b"" for n in range(9)})
    with pytest.raises(
        CorpusError, match=r"but 0\.json\.gz, 1\.json\.gz, 2\.json\.gz and others \(compressed"
    ):
        documents(path)
    with pytest.raises(CorpusError, match=r"holds no \.json, \.jsonl or \.txt file, but nothing"):
        documents(tar(tmp_path / "b.tar", {}))


@pytest.mark.parametrize(
    "end",
    [
        b"",  # cut between two members
        bytes(100),  # or within the end
        b"x" * 512,  # or not a tar from there on
        b"x" * 10_240,
    ],
)
def test_a_tar_ends_with_zeros_or_is_truncated(tmp_path: Path, end: bytes):
    path = tar(tmp_path / "a.tar", {"a.txt": "One.", "b.txt": "Two."})
    whole = path.read_bytes()
    for size in (1024, 512 + 1024, 512 + 512 + 512):
        path.write_bytes(whole[:2048] + bytes(size))
        assert documents(path) == ["One.", "Two."]
    path.write_bytes(whole[:1024] + end)
    with pytest.raises(CorpusError, match=r"a\.tar is not a tar file, or is truncated"):
        documents(path)


def test_a_tar_of_many_files_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[tarfile.TarFile] = []
    real = tarfile.open
    path = tar(tmp_path / "a.tar", {f"{n}.txt": f"Story {n}." for n in range(100)})
    monkeypatch.setattr(tarfile, "open", lambda **options: opened.append(real(**options)) or opened[-1])
    assert len(documents(path)) == 100
    assert len(opened) == 2  # once to see whether there are several members, once to read them
    assert all(len(vars(archive)["members"]) < 2 for archive in opened)
