"""The story page, as far as Python writes it."""

import base64
import gzip
import html
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import aurelius
from aurelius.cli.main import main
from aurelius.config.recipe import Recipe
from aurelius.errors import ModelError
from aurelius.export import page
from aurelius.model.hf_folder import LlamaFolder


@given(arrays(np.float32, (3, 5), elements=st.floats(-4, 4, width=32)))
def test_a_weight_is_off_by_half_a_unit_at_most(weight: np.ndarray):
    scales, values = page.quantised(weight)
    assert np.abs(values.astype(int)).max() <= 127
    assert (np.abs(page.dequantised(weight) - weight) <= scales[:, None] * 0.501).all()


def contents(text: str) -> tuple[dict, bytes]:
    """Return the header and the data of a page."""
    model = re.search(r'id="model"[^>]*>([^<]*)<', text)
    assert model
    raw = gzip.decompress(base64.b64decode(model[1]))
    (length,) = struct.unpack_from("<I", raw)
    return json.loads(raw[4 : 4 + length]), raw[-(-(4 + length) // 4) * 4 :]


def test_the_page_holds_the_model(tiny_run: Path):
    folder = tiny_run / "export/huggingface"
    text = page.page(folder, 'Anne & "Bob" </title>')
    assert "<title>Anne &amp; &quot;Bob&quot; &lt;/title&gt;: a tiny storyteller</title>" in text
    assert not re.search(r"\{\{(policy|style|title|about|shape|settings|model|worker|app)\}\}", text)
    header, data = contents(text)
    for name, weight in LlamaFolder.read(folder).weights.items():
        tensor = header["tensors"][name]
        rows = weight.shape[0]
        floats = np.frombuffer(data, "<f4", rows, tensor["floats"])
        if weight.ndim == 1:
            found = floats
        else:
            found = (
                np.frombuffer(data, np.int8, weight.size, tensor["bytes"]).reshape(weight.shape)
                * floats[:, None]
            )
        assert np.array_equal(found, page.dequantised(weight)), name
    settings = re.search(r'data-settings="([^"]*)"', text)
    assert settings and json.loads(html.unescape(settings[1]))["sampling"]["temperature"] == 1.0


def test_nothing_in_the_page_may_reach_a_network(tiny_run: Path):
    text = page.page(tiny_run / "export/huggingface", "tiny")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; ") and "unsafe" not in policy[1]
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_a_page_of_a_large_model_needs_force(tiny_run: Path, capsys: pytest.CaptureFixture):
    large = Recipe.load("large", {"model.layers": 7, "corpus.source": "storyteller"})
    with pytest.raises(ModelError, match=r"would be 16 MB: it has 11,\d{3},\d{3} parameters.*--force"):
        page.TARGET.preflight(large)
    page.TARGET.preflight(Recipe.load("large", {"model.layers": 7, "export.large_page": True}))
    page.TARGET.preflight(Recipe.load("large"))


def test_open_writes_the_page_and_says_where(tiny_storyteller: Path, capsys: pytest.CaptureFixture):
    assert main(["open", str(tiny_storyteller), "--no-browser"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tiny_storyteller / "export/page/page.html"
    size = aurelius.open_model(tiny_storyteller).parameters
    assert path.stat().st_size <= 1.4 * size + 150_000
    assert main(["open", "nobody"]) == 2
    assert "nobody is not a run folder" in capsys.readouterr().err
