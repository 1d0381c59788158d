"""A page that tells stories: model, tokenizer and engine in one HTML file that needs no network.

The engine is JavaScript (``page/`` in the repository), bundled into ``templates/page.html``. The weights are
stored as int8, each row of a matrix with its own scale: value = scale × round(value / scale), where the scale
is the row's largest absolute value / 127.
"""

import base64
import gzip
import html
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurelius.config.recipe import Recipe
from aurelius.errors import ModelError
from aurelius.export.target import Target
from aurelius.files import read_json, write_bytes
from aurelius.progress import Progress

FILE = "page.html"
TEMPLATE = Path(__file__).parent / "templates/page.html"
MOST_PARAMETERS = 10_000_000  # a page of 14 MB; JavaScript would be slow beyond


def write(recipe: Recipe, source: Path, out: Path, progress: Progress) -> None:
    """Write the Hugging Face folder ``source`` as a page.

    Raises:
        ModelError, RunError: the folder is damaged.
    """
    write_bytes(out / FILE, page(source, recipe.name).encode())


def page(source: Path, name: str) -> str:
    """Return the page of a Hugging Face folder.

    Raises:
        ModelError, RunError, TokenizerError: the folder is damaged, or not a plain Llama.
    """
    from aurelius.inference.stock_llama import StockLlama

    model = StockLlama(source)
    shape, sampling = model.shape, model.sampling
    lead = "".join(model.tokenizer.id_to_token(i) or "" for i in model.prefix[:1])
    settings = {
        "sampling": {
            "temperature": sampling.temperature,
            "minP": sampling.min_p,
            "topP": sampling.top_p,
            "topK": sampling.top_k,
        },
        "context": model.context,
        "prefix": len(model.prefix),
        "sinkName": lead,
    }
    header: dict[str, Any] = {
        "shape": {
            "layers": shape.layers,
            "dModel": shape.d_model,
            "dMlp": shape.d_mlp,
            "heads": shape.heads,
            "kvHeads": shape.kv_heads,
            "context": model.context,
            "theta": shape.rope_theta,
            "epsilon": shape.norm_eps,
        },
        "prefix": model.prefix,
        "end": model.end,
        "suppressed": model.suppressed,
        "tokenizer": read_json(source / "tokenizer.json"),
    }
    content = packed(header, model.weights)
    settings["model"] = zlib.crc32(content)  # so that a link is not read by another model
    values = {
        "title": html.escape(f"{name}: a tiny storyteller"),
        "about": html.escape(
            f"A very small language model ({model.parameters / 1e6:.3g} million parameters) that makes up "
            "stories in this page."
        ),
        "shape": f"{shape.layers} layers, {shape.d_model} wide, {model.vocab_size:,} tokens.",
        "settings": html.escape(json.dumps(settings)),
        "model": base64.b64encode(content).decode(),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name_, value in values.items():
        text = text.replace(f"{{{{{name_}}}}}", value)
    return text


def packed(header: dict[str, Any], weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Return the header and the weights as the page's ``model.js`` reads them.

    gzip of: the header's length (uint32, little-endian), the header as JSON, padded to four bytes; then all
    float32 numbers (norms, scales), then all int8 numbers. ``tensors`` in the header says where each is.
    """
    tensors: dict[str, Any] = {}
    floats: list[NDArray[np.float32]] = []
    integers: list[NDArray[np.int8]] = []
    for name, weight in weights.items():
        tensors[name] = {"shape": list(weight.shape), "floats": sum(each.nbytes for each in floats)}
        if weight.ndim == 1:
            floats.append(weight)
            continue
        scales, values = quantised(weight)
        floats.append(scales)
        integers.append(values)
        tensors[name]["bytes"] = sum(each.nbytes for each in integers[:-1])
    size = sum(each.nbytes for each in floats)
    for tensor in tensors.values():
        if "bytes" in tensor:
            tensor["bytes"] += size
    text = json.dumps({**header, "tensors": tensors}, separators=(",", ":")).encode()
    padding = b"\0" * (-(4 + len(text)) % 4)
    data = b"".join(each.tobytes() for each in (*floats, *integers))
    return gzip.compress(struct.pack("<I", len(text)) + text + padding + data, mtime=0)


def quantised(weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return the scale of each row, and the rows in units of it."""
    scales = np.abs(weight).max(1) / np.float32(127)
    units = weight / np.where(scales > 0, scales, 1)[:, None]
    return scales.astype(np.float32), np.rint(units).astype(np.int8)


def dequantised(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a weight as the page has it."""
    if weight.ndim == 1:
        return weight
    scales, values = quantised(weight)
    return values * scales[:, None]


def _preflight(recipe: Recipe) -> None:
    if recipe.parameters > MOST_PARAMETERS and not recipe.export.large_page:
        raise ModelError(
            f"a page for this model would be {recipe.parameters * 1.4 / 1e6:.0f} MB: it has "
            f"{recipe.parameters:,} parameters, and pages are for at most {MOST_PARAMETERS:,}; pass --force "
            "to write it all the same"
        )


TARGET = Target(
    name="page",
    recipe_parts=(),
    write=write,
    kind_of=lambda name: None,
    preflight=_preflight,
)
