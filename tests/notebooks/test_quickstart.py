"""The notebook, from top to bottom, with a small budget."""

import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
NOTEBOOK = Path(__file__).parents[2] / "notebooks/quickstart.ipynb"


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (settings,) = [cell for cell in notebook.cells if "MINUTES = 5" in cell.source]
    settings.source = settings.source.replace("MINUTES = 5", "MINUTES = 0.8")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "bits per byte on" in text and "Once upon a time" in text
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1
    page = outputs[-1]["data"]["text/html"]
    assert "srcdoc" in page and "a tiny storyteller" in page
    # Without ipywidgets, progress is shown in lines, one every 15 seconds.
    progress = "".join(output["data"].get("text/plain", "") for output in outputs if "data" in output)
    assert "training: " in progress and "tokens/s" in progress and "\r" not in progress
    warnings = "".join(output["text"] for output in outputs if output.get("name") == "stderr")
    assert "IFrame" not in warnings
