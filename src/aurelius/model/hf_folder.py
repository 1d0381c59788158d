"""A stock Llama in a Hugging Face folder, read without PyTorch: what the other exports are made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, deserialize
from tokenizers import Tokenizer

from aurelius.config.settings import ModelSettings
from aurelius.errors import ModelError, some
from aurelius.files import read_json
from aurelius.model.weight_names import EMBEDDING, HEAD, weight_shapes
from aurelius.tokenizer.load import load

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # of sharded weights: which tensor is in which file
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
# What a configuration must say if it says anything: our Llama, and so its exports, supports nothing else.
FIXED = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class LlamaFolder:
    """Configuration, weights (float32, by published name) and tokenizer of a Hugging Face folder."""

    path: Path
    config: dict[str, Any]
    shape: ModelSettings
    weights: dict[str, NDArray[np.float32]]
    tokenizer: Tokenizer

    @classmethod
    def read(cls, path: Path) -> "LlamaFolder":
        """Read and check a folder.

        Raises:
            ModelError: it is not a Llama with tied embeddings and without biases, weights are missing,
            unknown
                or of another shape, or the tokenizer has ids that the model does not have.
            RunError, TokenizerError: a file is missing or damaged.
        """
        config = read_json(path / "config.json")
        if not isinstance(config, dict):
            raise ModelError(f"{path / 'config.json'} is not a JSON object")
        shape = read_shape(path, config)
        weights = read_weights(path / WEIGHTS)
        head = weights.pop(HEAD, None)
        if head is not None and not np.array_equal(head, weights.get(EMBEDDING, [])):
            raise ModelError(f"{path / WEIGHTS} has a separate head; only tied embeddings are supported")
        weights = {name: value for name, value in weights.items() if not name.endswith("rotary_emb.inv_freq")}
        check_weights(path / WEIGHTS, weights, weight_shapes(shape, config["vocab_size"]), "config.json")
        tokenizer = load(path / "tokenizer.json")
        last = max(tokenizer.get_vocab().values(), default=0)
        if last >= config["vocab_size"]:
            raise ModelError(
                f"{path / 'tokenizer.json'} has token {last}, but the model has only {config['vocab_size']}; "
                "this tokenizer does not belong to this model"
            )
        return cls(path, config, shape, weights, tokenizer)

    @property
    def vocab_size(self) -> int:
        """The number of tokens of the model."""
        return self.config["vocab_size"]


def read_weights(file: Path) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a safetensors file in float32, or those of its shards.

    Raises:
        ModelError: a file is missing, damaged, or holds a value that is not finite.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for part in weight_files(file):
        weights |= _read_tensors(part)
    return weights


def weight_files(file: Path) -> list[Path]:
    """Return a weights file, or the shards that its index names in its place.

    Raises:
        ModelError: the index is damaged.
        RunError: the index cannot be read.
    """
    index = file.with_name(INDEX)
    if file.exists() or not index.exists():
        return [file]
    try:
        names = sorted({str(name) for name in read_json(index)["weight_map"].values()})
    except (KeyError, TypeError, AttributeError):
        raise ModelError(f"{index} is not an index of shards: it has no weight_map") from None
    if wrong := [name for name in names if name != Path(name).name]:
        raise ModelError(f"{index} names {wrong[0]}, which is not a file next to it")
    return [file.with_name(name) for name in names]


def _read_tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    try:
        tensors = deserialize(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from None
    weights: dict[str, NDArray[np.float32]] = {}
    for name, tensor in tensors:
        kind = tensor["dtype"]
        if kind == "BF16":  # the upper half of a float32
            value = (np.frombuffer(tensor["data"], "<u2").astype("<u4") << 16).view("<f4")
        elif kind in FLOATS:
            value = np.frombuffer(tensor["data"], FLOATS[kind]).astype(np.float32)
        else:
            raise ModelError(f"{file}: {name} is of type {kind}; weights are float32, float16 or bfloat16")
        if not np.isfinite(value).all():
            raise ModelError(f"{file}: {name} holds a value that is not finite")
        weights[name] = value.reshape(tensor["shape"])
    return weights


def read_shape(path: Path, config: dict[str, Any]) -> ModelSettings:
    """Return a configuration's shape.

    Raises:
        ModelError: it lacks a value, or does not describe a Llama like ours.
    """
    for name, value in FIXED.items():
        found = config.get(name, value if name != "tie_word_embeddings" else False)
        if found != value:
            raise ModelError(f"{path / 'config.json'} has {name} {found!r}; only {value!r} is supported")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelError(f"{path / 'config.json'} has rope_parameters {rope!r}, which is not a JSON object")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ModelError(
            f"{path / 'config.json'} scales its rotary positions ({kind}), which is not supported"
        )
    try:
        heads = config["num_attention_heads"]
        shape = ModelSettings(
            layers=config["num_hidden_layers"],
            d_model=config["hidden_size"],
            d_mlp=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            context=config["max_position_embeddings"],
            rope_theta=rope.get("rope_theta", config.get("rope_theta", 10000.0)),
            norm_eps=config["rms_norm_eps"],
        )
        if config.get("head_dim") not in (None, shape.head_dim):
            raise ValueError(f"head_dim {config['head_dim']} is not hidden_size / num_attention_heads")
        if not isinstance(config["vocab_size"], int):
            raise ValueError(f"vocab_size is {config['vocab_size']!r}")
    except KeyError as error:
        raise ModelError(f"{path / 'config.json'} lacks {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{where} {first['input']!r}: {first['msg']}" if where else first["msg"]
        raise ModelError(f"{path / 'config.json'} describes an unsupported shape: {problem}") from None
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path / 'config.json'} describes an unsupported shape: {error}") from None
    return shape


def check_weights(
    file: Path, weights: dict[str, NDArray[Any]], wanted: dict[str, tuple[int, ...]], source: str
) -> None:
    """Compare the names and shapes of weights with those that a configuration calls for.

    Raises:
        ModelError: one is missing, unknown or of another shape; the message names the shapes' ``source``.
    """
    if missing := sorted(set(wanted) - set(weights)):
        raise ModelError(f"{file} lacks {len(missing)} weights that {source} calls for: {some(missing)}")
    if extra := sorted(set(weights) - set(wanted)):
        raise ModelError(
            f"{file} has {len(extra)} weights that {source} does not mention: {some(extra)}; "
            "leaving them out would change the model"
        )
    for name, size in wanted.items():
        if weights[name].shape != size:
            raise ModelError(f"{file}: {name} is {list(weights[name].shape)}, {source} says {list(size)}")
