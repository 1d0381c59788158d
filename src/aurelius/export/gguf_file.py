"""Writing a Llama in the GGUF format, as llama.cpp loads it.

The tokenizer becomes an SPM vocabulary, which llama.cpp merges by score: a token's score is minus its
number, so that merges apply in the order they were learned. It writes the space as ``▁`` and adds no prefix.
llama.cpp has no normalizer: the space that ends a text must be typed or added by the chat template, which
also adds the ``<s>`` after the ``<sink>`` that llama.cpp starts with.

Source of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from pathlib import Path
from typing import Any

from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quants
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aurelius.errors import ModelError, TokenizerError
from aurelius.export import spm
from aurelius.export.gguf import TYPES, misfit
from aurelius.files import atomic
from aurelius.model.hf_folder import LlamaFolder
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
    split_layer_weight,
)
from aurelius.special_tokens import EOS, SINK, UNK

NAMES = {
    ATTENTION_NORM: "attn_norm",
    Q: "attn_q",
    K: "attn_k",
    V: "attn_v",
    O: "attn_output",
    MLP_NORM: "ffn_norm",
    GATE: "ffn_gate",
    UP: "ffn_up",
    DOWN: "ffn_down",
}
# The message is the beginning of the story; the template adds <s> and the space after the last word.
TEMPLATE = "{{ '<s>' }}{% for message in messages %}{{ message['content'] | trim }}{{ ' ' }}{% endfor %}"


def write(source: LlamaFolder, out: Path, name: str, types: tuple[str, ...] = ()) -> list[str]:
    """Write ``out/NAME-TYPE.gguf`` for each type; return why others do not fit the shape.

    Args:
        source: the model.
        out: the folder to write.
        name: the model's name, as tools show it.
        types: of `TYPES`; by default all that fit.

    Raises:
        ModelError: one of ``types`` does not fit.
        TokenizerError: llama.cpp cannot split text as this tokenizer does.
    """
    check_tokenizer(source)
    problems = {kind: problem for kind in types or TYPES if (problem := misfit(source.shape, kind))}
    if types and problems:
        raise ModelError(next(iter(problems.values())))
    for kind in types or TYPES:
        if kind not in problems:
            with atomic(out / f"{name}-{kind}.gguf") as path:
                _write(source, path, name, kind)
    return list(problems.values())


def check_tokenizer(source: LlamaFolder) -> None:
    """Refuse a tokenizer that llama.cpp's SPM tokenizer could not reproduce.

    Raises:
        TokenizerError: it is not a BPE over characters with byte tokens, or was not made by Aurelius.
    """
    where = source.path / "tokenizer.json"
    if problem := spm.problem(source.tokenizer):
        raise TokenizerError(f"{where} {problem}")
    if source.tokenizer.get_vocab_size() != source.vocab_size:
        raise TokenizerError(
            f"{where} has {source.tokenizer.get_vocab_size()} tokens, the model {source.vocab_size}; "
            "it cannot be written as GGUF"
        )


def _write(source: LlamaFolder, path: Path, name: str, kind: str) -> None:
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
        if ours in (EMBEDDING, FINAL_NORM):
            theirs = {EMBEDDING: "token_embd", FINAL_NORM: "output_norm"}[ours]
        else:
            layer, part = split_layer_weight(ours)
            theirs = f"blk.{layer}.{NAMES[part]}"
            if part in (Q, K):
                value = interleaved(value, shape.heads if part == Q else shape.kv_heads)
        stored = GGMLQuantizationType["F32" if value.ndim == 1 else kind]
        writer.add_tensor(f"{theirs}.weight", quants.quantize(value, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    texts, scores, kinds = zip(*spm.pieces(tokenizer), strict=True)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(texts))
    writer.add_token_scores(list(scores))
    writer.add_token_types(list(kinds))
    writer.add_bos_token_id(SINK)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(EOS)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def interleaved(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key matrix from rotating halves to rotating neighbours."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
