"""The hub, played by a small local server that `HF_ENDPOINT` names."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.conftest import serving

STORIES = "".join(f"Story {n} about a cat and a very small dog that ran.\n<|endoftext|>\n" for n in range(30))
HOME = "/datasets/someone/tales/resolve/main/"
FILES = {
    HOME + "deep/tales.txt": STORIES.encode(),
    HOME + "parts/0.txt": STORIES[: len(STORIES) // 2].encode(),
    HOME + "parts/1.txt": STORIES[len(STORIES) // 2 :].encode(),
    HOME + "large.txt": STORIES.encode(),
}
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers what `hf_hub_download` asks for one file."""

    asked: list[str] = []  # noqa: RUF012
    breaks = 0  # transfers that end in the middle
    damages = 0  # transfers of which a byte is another

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        Hub.asked.append(self.path)
        if self.path.startswith("/api/datasets/someone/tales"):
            return self.list()
        content = FILES.get(self.path)
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response((206 if first else 200) if content else 404)
        content = content or b""
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if content:
            hashed = hashlib.sha256 if "large" in self.path else hashlib.sha1  # as of a file in LFS
            self.send_header("ETag", f'"{hashed(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if not (body and content):  # the hub's library asks for more than files
            return
        if Hub.breaks:
            Hub.breaks -= 1
            self.wfile.write(content[first : first + (len(content) - first) // 2])
            self.close_connection = True
        else:
            content = content.replace(b"cat", b"bat", bool(Hub.damages))
            Hub.damages -= bool(Hub.damages)
            self.wfile.write(content[first:])

    def list(self) -> None:
        """Answer what files there are, as `HfApi.list_repo_files` asks."""
        names = [path.removeprefix(HOME) for path in FILES]
        if "/tree/" in self.path:
            answer: object = [{"type": "file", "path": n, "size": 1, "oid": "0" * 40} for n in names]
        else:
            answer = {"id": "someone/tales", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked.clear()
    Hub.breaks = Hub.damages = 0
    with serving(Hub) as address:
        yield address


def aurelius(
    folder: Path, endpoint: str, *arguments: str, offline: bool = False
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": str(int(offline)),
    }
    command = [sys.executable, "-m", "aurelius", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_corpus_comes_from_the_hub_once(hub: str, tmp_path: Path):
    name = "hf:someone/tales/deep/tales.txt"
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/pico/corpus/train.parquet").is_file()
    assert name in (tmp_path / "runs/pico/corpus/report.json").read_text()
    gets = len(Hub.asked)
    assert aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name).returncode == 0
    assert len(Hub.asked) == gets, "a finished stage does not ask again"


def test_a_pattern_names_several_files(hub: str, tmp_path: Path):
    name, other = "hf:someone/tales/parts/*.txt", "hf:someone/tales/*.parquet"
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs/pico/corpus/report.json").read_text())
    assert report["source"] == "hf:someone/tales/parts/0.txt and hf:someone/tales/parts/1.txt"
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", other, "--out", "no")
    assert done.returncode == 1 and "no file of hf:someone/tales matches *.parquet" in done.stderr
    asked = len(Hub.asked)
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name, "--out", "again", offline=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "again/corpus/report.json").read_text())["source"] == report["source"]
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", other, "--out", "no", offline=True)
    assert done.returncode == 1 and "downloaded (HF_HUB_OFFLINE is set) matches *.parquet" in done.stderr
    assert len(Hub.asked) == asked


def test_a_broken_transfer_resumes(hub: str, tmp_path: Path):
    name = "hf:someone/tales/deep/tales.txt"
    Hub.breaks = 1
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name)
    if done.returncode:  # whether the hub's library tries again at once is its affair
        assert "cannot download" in done.stderr and "Traceback" not in done.stderr
        done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs/pico/corpus/report.json").read_text())
    assert report["stories_read"] == 30


def test_a_damaged_transfer_is_repeated(hub: str, tmp_path: Path):
    name = "hf:someone/tales/large.txt"
    Hub.damages = 1
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"the download of {name} was damaged and has been removed; run the command again" in done.stderr
    cache = tmp_path / "hf/hub/datasets--someone--tales"
    assert not [path for path in cache.glob("[bs]*/**/*") if path.is_symlink() or path.is_file()]
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name)
    assert done.returncode == 0, done.stderr
    (blob,) = (cache / "blobs").iterdir()
    assert blob.read_bytes() == STORIES.encode()


def test_offline_mode_uses_only_what_was_downloaded(hub: str, tmp_path: Path):
    name = "hf:someone/tales/deep/tales.txt"
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name, offline=True)
    assert done.returncode == 1 and "cannot download" in done.stderr and "Traceback" not in done.stderr
    assert Hub.asked == []
    assert aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name).returncode == 0
    asked = len(Hub.asked)
    again = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", name, "--out", "again", offline=True)
    assert again.returncode == 0, again.stderr
    assert len(Hub.asked) == asked


def test_what_the_hub_does_not_have(hub: str, tmp_path: Path):
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", "hf:someone/tales/no.txt")
    assert done.returncode == 1
    assert "cannot download hf:someone/tales/no.txt" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.long  # the hub's own retries take their time
def test_an_unreachable_hub(tmp_path: Path):
    done = aurelius(tmp_path, "http://127.0.0.1:9", "corpus", "pico", "--corpus", "hf:someone/tales/t.txt")
    assert done.returncode == 1 and "cannot download" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("source", ["someone/tales/deep/tales.txt", "stories.txt"])
def test_a_mistyped_path_never_reaches_the_network(hub: str, tmp_path: Path, source: str):
    done = aurelius(tmp_path, hub, "corpus", "pico", "--corpus", source)
    assert done.returncode == 2 and "does not exist" in done.stderr
    assert Hub.asked == []


def test_a_mistyped_model_never_reaches_the_network(hub: str, tmp_path: Path):
    done = aurelius(tmp_path, hub, "generate", "someone/model", "Once")
    assert done.returncode == 2 and "does not exist" in done.stderr and "hf:owner/name" in done.stderr
    assert Hub.asked == []
