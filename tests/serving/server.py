"""A server in a process of its own, asked by the real OpenAI client."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120  # seconds until it answers


@contextmanager
def serving(command: list[str], health: str, log: Path) -> Iterator[Any]:
    """Start ``command`` with a free port; give an OpenAI client once the path ``health`` answers."""
    from openai import OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(PATIENCE):
            assert server.poll() is None, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{address}{health}", timeout=1)
                break
            except OSError:
                time.sleep(1)
        yield OpenAI(base_url=f"{address}/v1", api_key="none")
    finally:
        server.terminate()
        server.wait(30)
