"""The hub, played by a small local server that `HF_ENDPOINT` names."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

STORIES = "".join(f"Story {n} about a cat and a very small dog that ran.\n<|endoftext|>\n" for n in range(30))
FILES = {"/datasets/someone/tales/resolve/main/deep/tales.txt": STORIES.encode()}
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers what `hf_hub_download` asks for one file."""

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        Hub.asked.append(self.path)
        content = FILES.get(self.path)
        self.send_response(200 if content else 404)
        content = content or b""
        if content:
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def aurelius(folder: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
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
    assert done.returncode == 2 and "is not there" in done.stderr
    assert Hub.asked == []


def test_a_mistyped_model_never_reaches_the_network(hub: str, tmp_path: Path):
    done = aurelius(tmp_path, hub, "generate", "someone/model", "Once")
    assert done.returncode == 2 and "is not there" in done.stderr and "hf:owner/name" in done.stderr
    assert Hub.asked == []
