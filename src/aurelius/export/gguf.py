"""GGUF files of a Llama, as llama.cpp and what is built on it load them.

The tokenizer becomes an SPM vocabulary, which llama.cpp merges by score: a token's score is minus its
number, so that merges apply in the order they were learned. The space is written ``▁`` there, and nothing is
put before a text. llama.cpp has no normalizer: the space that ends a text must be typed, or added by the chat
template, which also types the ``<s>`` after the ``<sink>`` that llama.cpp begins with.

Source of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aurelius.config.sections import ModelRecipe
from aurelius.errors import ModelError, TokenizerError
from aurelius.export.target import GGUF_TYPES
from aurelius.files import atomic
from aurelius.model.hf_folder import EMBEDDING, LAST_NORM, Folder
from aurelius.special_tokens import (
    BOS,
    BYTE_TOKENS,
    EOS,
    SINK,
    SPECIAL_TOKENS,
    UNK,
)

BLOCK = 32  # weights of a row that share a scale in Q8_0 and Q4_0
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NO_NORMALIZER = (
    "which puts spaces before newlines; llama.cpp has no normalizer: train with tokenizer.normalizer=portable"
)
# The message is the story's beginning. The template types <s> and the space after the last word.
TEMPLATE = "{{ '<s>' }}{% for message in messages %}{{ message['content'] | trim }}{{ ' ' }}{% endfor %}"


def write(source: Folder, out: Path, name: str, types: tuple[str, ...] = ()) -> list[str]:
    """Write ``out/NAME-TYPE.gguf`` for each type; return those left out because they do not fit the shape.

    Args:
        source: the model.
        out: the folder to write.
        name: the model's, as tools show it.
        types: of `GGUF_TYPES`; all that fit by default.

    Raises:
        ModelError: a type was asked for that does not fit.
        TokenizerError: llama.cpp cannot cut as this tokenizer does.
    """
    check_tokenizer(source)
    problems = {kind: problem for kind in types or GGUF_TYPES if (problem := misfit(source.shape, kind))}
    if types and problems:
        raise ModelError(next(iter(problems.values())))
    for kind in types or GGUF_TYPES:
        if kind not in problems:
            with atomic(out / f"{name}-{kind}.gguf") as path:
                _write(source, path, name, kind)
    return list(problems.values())


def misfit(shape: ModelRecipe, kind: str) -> str:
    """Say why a type does not fit the shape; "" if it does."""
    if kind in ("F32", "F16"):
        return ""
    widths = {"model.d_model": shape.d_model, "model.d_mlp": shape.d_mlp}
    for key, width in widths.items():
        if width % BLOCK:
            advice = (
                "the recipe large-portable has 992" if width == 1008 else f"take {width // BLOCK * BLOCK}"
            )
            return f"{kind} stores {BLOCK} weights together and {key} is {width}, no multiple of it; {advice}"
    return ""


def check_tokenizer(source: Folder) -> None:
    """Raise where llama.cpp's SPM tokenizer would cut otherwise.

    Raises:
        TokenizerError: it is not a BPE over characters with byte tokens, or not of suffix-space words.
    """
    rules = json.loads(source.tokenizer.to_str())
    model = rules["model"]
    where = source.path / "tokenizer.json"
    if (
        model["type"] != "BPE"
        or not model.get("byte_fallback")
        or not set(BYTE_TOKENS) <= set(model["vocab"])
    ):
        raise TokenizerError(f"{where} has no byte tokens; a GGUF needs them to spell any text")
    found = [text for text in SPECIAL_TOKENS if source.tokenizer.token_to_id(text) is None]
    if (
        found
        or len(rules["added_tokens"]) > len(SPECIAL_TOKENS)
        or source.tokenizer.get_vocab_size() != source.vocab_size
    ):
        raise TokenizerError(f"{where} is not a tokenizer that Aurelius made; no GGUF can be written of it")
    normal = (rules["normalizer"] or {}).get("normalizers", [])
    if any(rule.get("pattern", {}).get("Regex") == "$" for rule in normal):
        raise TokenizerError(f"{where} has the reference normalizer, {NO_NORMALIZER}")


def _write(source: Folder, path: Path, name: str, kind: str) -> None:
    shape = source.shape
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_file_type(LlamaFileType[f"MOSTLY_{kind}" if kind != "F32" else "ALL_F32"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.d_mlp)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(source.vocab_size)
    _add_tokenizer(writer, source.tokenizer)
    for ours, value in source.weights.items():
        if ours in (EMBEDDING, LAST_NORM):
            theirs = {EMBEDDING: "token_embd", LAST_NORM: "output_norm"}[ours]
        else:
            layer, part = ours.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            theirs = f"blk.{layer}.{NAMES[part]}"
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                value = interleaved(value, shape.heads if "q_proj" in part else shape.kv_heads)
        stored = GGMLQuantizationType["F32" if value.ndim == 1 else kind]
        writer.add_tensor(f"{theirs}.weight", quants.quantize(value, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    texts, scores, kinds = [], [], []
    special = {
        UNK: TokenType.UNKNOWN,
        BOS: TokenType.CONTROL,
        EOS: TokenType.CONTROL,
        SINK: TokenType.CONTROL,
    }
    for token in range(tokenizer.get_vocab_size()):
        text = tokenizer.id_to_token(token) or ""
        is_byte = text in BYTE_TOKENS
        texts.append(text.replace(" ", "▁").encode())
        scores.append(-float(token))
        kinds.append(TokenType.BYTE if is_byte else special.get(token, TokenType.NORMAL))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(SINK)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def interleaved(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key matrix: llama.cpp turns neighbours, the published weights halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
