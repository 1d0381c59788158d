"""llama2.c's checkpoints and tokenizers (A. Karpathy 2023, MIT, https://github.com/karpathy/llama2.c).

A checkpoint is seven int32 (width, MLP, layers, heads, key and value heads, vocabulary, context) and float32
matrices, those of all layers together. Its rotary embedding turns neighbours, where the published weights
turn halves. ``tokenizer.bin`` is the length of the longest token and, for each, score, length and bytes.
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
from aurelius.model.hf_folder import EMBEDDING, LAST_NORM

HEADER = struct.Struct("<7i")
SPECIAL = ("<unk>", "<s>", "</s>")
NEWER = 0x616B3432  # "ak42", what files of llama2.c's versions 1 and 2 begin with
MOST = 2**31  # bytes a matrix may have: larger figures are no header
# In the file's order; a layer's matrices are [outputs, inputs].
PARTS = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",
    "mlp.down_proj",
    "mlp.up_proj",
)


def convert(checkpoint: Path, tokenizer: Path, out: Path) -> None:
    """Write a checkpoint and its tokenizer as a Hugging Face folder.

    Raises:
        ModelError: the checkpoint is no llama2.c model, is cut short, or has a head of its own.
        TokenizerError: the tokenizer is missing or is no llama2.c tokenizer of this size.
    """
    content = checkpoint.read_bytes()
    header = HEADER.unpack_from(content) if len(content) >= HEADER.size else (0,) * 7
    D, hidden, layers, heads, kv_heads, vocabulary, context = header
    if header[0] == NEWER:
        raise ModelError(f"{checkpoint} is of llama2.c's newer format; export it with --version 0")
    if vocabulary < 0:
        raise ModelError(f"{checkpoint} has a head of its own; only tied embeddings are supported")
    if min(header) <= 0 or D % (2 * heads) or heads % kv_heads or 4 * D * max(vocabulary, hidden) > MOST:
        raise ModelError(f"{checkpoint} is no checkpoint of llama2.c: its header says {list(header)}")
    E = D // heads
    keys = kv_heads * E
    sizes = ((D,), (D, D), (keys, D), (keys, D), (D, D), (D,), (hidden, D), (D, hidden), (hidden, D))
    wanted = HEADER.size + 4 * (
        vocabulary * D + layers * sum(int(np.prod(size)) for size in sizes) + D + context * E
    )
    if len(content) != wanted:
        raise ModelError(
            f"{checkpoint} has {len(content)} bytes, its header asks for {wanted}: is it cut short?"
        )
    numbers = np.frombuffer(content, "<f4", offset=HEADER.size)
    if not np.isfinite(numbers).all():
        raise ModelError(f"{checkpoint} holds what is no finite number")
    at = 0

    def take(*size: int) -> NDArray[np.float32]:
        nonlocal at
        count = int(np.prod(size))
        at += count
        return numbers[at - count : at].reshape(size)

    weights = {EMBEDDING: take(vocabulary, D)}
    for part, size in zip(PARTS, sizes, strict=True):
        for layer, value in enumerate(take(layers, *size)):
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                value = halves(value, heads if "q_proj" in part else kv_heads)
            weights[f"model.layers.{layer}.{part}.weight"] = np.ascontiguousarray(value)
    weights[LAST_NORM] = take(D)  # two tables of angles follow, which are computed
    write_bytes(out / "tokenizer.json", read_tokenizer(tokenizer, vocabulary).to_str(pretty=True).encode())
    write_bytes(out / "model.safetensors", save(weights, {"format": "pt"}))
    write_json(out / "config.json", _config(D, hidden, layers, heads, kv_heads, vocabulary, context))
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "<s>", "model_max_length": context}
    write_json(out / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def halves(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key matrix from neighbours that turn together to halves that do."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def read_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """Return llama2.c's tokenizer: pairs merge by the score of what they make, bytes spell the rest.

    Raises:
        TokenizerError: the file is missing, or is no llama2.c tokenizer of ``vocabulary`` tokens.
    """
    if not path.is_file():
        raise TokenizerError(f"{path} is missing; name llama2.c's tokenizer.bin with --tokenizer")
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
        raise TokenizerError(f"{path} is no tokenizer.bin of llama2.c with {vocabulary} tokens") from None
    tokens[:3] = SPECIAL
    texts = [text.replace(" ", "▁") for text in tokens]
    ids = {text: number for number, text in enumerate(texts)}
    if len(ids) < vocabulary:
        raise TokenizerError(f"{path} has tokens twice")
    merges = [
        (text[:cut], text[cut:])
        for text in sorted(texts[259:], key=lambda text: -scores[ids[text]])
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]
    found = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    found.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    found.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    found.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    found.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    return found


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
        "eos_token_id": 1,  # the next story's beginning is what ends one
        "pad_token_id": None,
        "dtype": "float32",
    }
