import errno
import os
from pathlib import Path

import pytest

from aurelius.errors import RunError
from aurelius.files import read_json, write_bytes, write_json
from aurelius.pipeline import manifest as artifacts
from aurelius.pipeline.manifest import Entry, Manifest, describe


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_sha256_is_the_published_one(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    golden = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert artifacts.sha256(tmp_path / "abc") == golden


def flip(path: Path) -> None:
    """Change one byte and nothing that `stat` shows."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_entry_detects_changes(tmp_path: Path):
    path = tmp_path / "data"
    path.write_bytes(b"some content")
    entry = Entry.of(path)
    assert entry.describes(path)
    os.utime(path, (1, 1))
    assert entry.describes(path), "touched or copied, but the same content"
    flip(path)
    assert not entry.describes(path)
    path.write_bytes(b"some content")
    assert entry.describes(path)
    entry = Entry.of(path)
    flip(path)
    assert entry.describes(path), "the routine check trusts size and time"
    assert not entry.describes(path, verify=True)
    path.unlink()
    assert not entry.describes(path)


def test_a_manifest_reads_back_and_names_damaged_files(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").write_bytes(b"aaaa")
    (tmp_path / ".hidden").write_bytes(b"")
    made = Manifest("corpus", {"x": 1}, {"in": "ff"}, {}, describe(tmp_path), 1.5)
    made.write(tmp_path)
    read = Manifest.read(tmp_path)
    assert read == made
    assert read is not None and list(read.outputs) == ["deep/a.bin"]
    assert read.damaged(tmp_path) == []
    flip(tmp_path / "deep" / "a.bin")
    assert read.damaged(tmp_path, verify=True) == [tmp_path / "deep" / "a.bin"]


def test_no_manifest_means_not_done(tmp_path: Path):
    assert Manifest.read(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_json_keeps_text_readable(tmp_path: Path):
    write_json(tmp_path / "x.json", {"story": "“é”"})
    assert "“é”" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"story": "“é”"}
    with pytest.raises(RunError, match="missing"):
        read_json(tmp_path / "y.json")
