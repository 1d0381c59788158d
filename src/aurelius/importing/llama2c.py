"""llama2.c's checkpoints and tokenizers (A. Karpathy 2023, MIT, https://github.com/karpathy/llama2.c).

A checkpoint is seven int32 (width, MLP, layers, heads, key and value heads, vocabulary, context) and float32
matrices, grouped by kind over all layers. Its rotary embedding rotates neighbours, while the published
weights rotate halves. ``tokenizer.bin`` is the length of the longest token and, for each, score, length and
bytes.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from aurelius.errors import ModelError, TokenizerError
from aurelius.files import write_bytes, write_json
from aurelius.model.weight_names import (
    ATTENTION_NORM,
    DOWN,
    EMBEDDING,
    FINAL_NORM,
    GATE,
    MLP_NORM,
    UP,
    K,
    O,
    Q,
    V,
    layer_weight,
)

HEADER = struct.Struct("<7i")
SPECIAL = ("<unk>", "<s>", "</s>")
NEWER = 0x616B3432  # "ak42", the magic number of llama2.c's versions 1 and 2
MAX_BYTES = 2**31  # of a matrix; a larger figure means that this is not a header
# In the file's order; a layer's matrices are [outputs, inputs].
PARTS = (ATTENTION_NORM, Q, K, V, O, MLP_NORM, GATE, DOWN, UP)


def convert(checkpoint: Path, tokenizer: Path, out: Path) -> None:
    """Write a checkpoint and its tokenizer as a Hugging Face folder.

    Raises:
        ModelError: the checkpoint is not a llama2.c model, is truncated, or has a separate head.
        TokenizerError: the tokenizer is missing or is not a llama2.c tokenizer of this size.
    """
    content = checkpoint.read_bytes()
    header = HEADER.unpack_from(content) if len(content) >= HEADER.size else (0,) * 7
    D, hidden, layers, heads, kv_heads, vocabulary, context = header
    if header[0] == NEWER:
        raise ModelError(f"{checkpoint} is in a newer format of llama2.c; export it with --version 0")
    if vocabulary < 0:
        raise ModelError(f"{checkpoint} has a separate head; only tied embeddings are supported")
    if min(header) <= 0 or D % (2 * heads) or heads % kv_heads or 4 * D * max(vocabulary, hidden) > MAX_BYTES:
        raise ModelError(f"{checkpoint} is not a llama2.c checkpoint: its header says {list(header)}")
    E = D // heads
    keys = kv_heads * E
    sizes = ((D,), (D, D), (keys, D), (keys, D), (D, D), (D,), (hidden, D), (D, hidden), (hidden, D))
    wanted = HEADER.size + 4 * (
        vocabulary * D + layers * sum(int(np.prod(size)) for size in sizes) + D + context * E
    )
    if len(content) != wanted:
        raise ModelError(
            f"{checkpoint} has {len(content)} bytes, but its header implies {wanted}: is it truncated?"
        )
    numbers = np.frombuffer(content, "<f4", offset=HEADER.size)
    if not np.isfinite(numbers).all():
        raise ModelError(f"{checkpoint} holds a value that is not finite")
    at = 0

    def take(*size: int) -> NDArray[np.float32]:
        nonlocal at
        count = int(np.prod(size))
        at += count
        return numbers[at - count : at].reshape(size)

    weights = {EMBEDDING: take(vocabulary, D)}
    for part, size in zip(PARTS, sizes, strict=True):
        for layer, value in enumerate(take(layers, *size)):
            if part in (Q, K):
                value = halves(value, heads if part == Q else kv_heads)
            weights[layer_weight(layer, part)] = np.ascontiguousarray(value)
    weights[FINAL_NORM] = take(D)  # two tables of angles follow, which we compute
    write_bytes(out / "tokenizer.json", read_tokenizer(tokenizer, vocabulary).to_str(pretty=True).encode())
    write_bytes(out / "model.safetensors", save(weights, {"format": "pt"}))
    write_json(out / "config.json", _config(D, hidden, layers, heads, kv_heads, vocabulary, context))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "<s>", "model_max_length": context}
    write_json(out / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def halves(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key matrix: from rotating neighbours to rotating halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def read_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """Return llama2.c's tokenizer: pairs merge by the score of the result, bytes spell the rest.

    Raises:
        TokenizerError: the file is missing, or is not a llama2.c tokenizer of ``vocabulary`` tokens.
    """
    if not path.is_file():
        raise TokenizerError(f"{path} is missing; pass llama2.c's tokenizer.bin with --tokenizer")
    content, tokens, scores, at = path.read_bytes(), [], [], 4
    try:
        while len(tokens) < vocabulary:
            score, length = struct.unpack_from("<fi", content, at)
            text = content[at + 8 : at + 8 + length]
            if length < 0 or len(text) < length:
                raise struct.error
            tokens.append(text.decode())
            scores.append(score)
            at += 8 + length
    except (struct.error, UnicodeDecodeError):
        raise TokenizerError(f"{path} is not a llama2.c tokenizer.bin with {vocabulary} tokens") from None
    tokens[:3] = SPECIAL
    texts = [text.replace(" ", "▁") for text in tokens]
    ids = {text: number for number, text in enumerate(texts)}
    if len(ids) < vocabulary:
        raise TokenizerError(f"{path} has duplicate tokens")
    merges = [
        (text[:cut], text[cut:])
        for text in sorted(texts[259:], key=lambda text: -scores[ids[text]])
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    return tokenizer


def _config(*shape: int) -> dict[str, Any]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    names += ("num_key_value_heads", "vocab_size", "max_position_embeddings")
    return dict(zip(names, shape, strict=True)) | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "head_dim": shape[0] // shape[3],
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 1,  # the beginning of the next story ends one
        "pad_token_id": None,
        "dtype": "float32",
    }
