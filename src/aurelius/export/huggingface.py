"""The Hugging Face folder: what stock transformers 4.57 and 5 load without custom code."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from aurelius.config.recipe import Recipe
from aurelius.export import spm
from aurelius.export.card import card
from aurelius.export.learning_curve import PICTURE, picture
from aurelius.files import write_bytes, write_json
from aurelius.model.checkpoint_folder import newest_checkpoint
from aurelius.run_paths import RunPaths
from aurelius.special_tokens import OURS, UNK, SpecialTokens
from aurelius.tokenizer import load as tokenizers


def write(recipe: Recipe, run: Path, out: Path) -> None:
    """Write the weights, tokenizer, configurations and model card of a run's newest checkpoint.

    Raises:
        RunError, ModelError: an earlier artifact is missing.
    """
    paths = RunPaths(run)
    write_bytes(
        out / "model.safetensors", (newest_checkpoint(paths.training) / "model.safetensors").read_bytes()
    )
    special = SpecialTokens.read(paths.tokenizer)
    tokenizer = tokenizers.load(paths.tokenizer_file)
    write_bytes(out / "tokenizer.json", published_tokenizer(paths.tokenizer_file.read_bytes(), tokenizer))
    if not spm.problem(tokenizer):
        write_bytes(out / "tokenizer.model", spm.sentencepiece_model(tokenizer))
    write_json(out / "config.json", config(recipe, special))
    write_json(out / "generation_config.json", generation_config(recipe, special))
    write_json(out / "tokenizer_config.json", tokenizer_config(recipe, special, tokenizer))
    if drawn := picture(paths.training):
        write_bytes(out / PICTURE, drawn)
    write_card(recipe, run, out)


def write_card(recipe: Recipe, run: Path, out: Path) -> str:
    """Write the model card alone; return the name of its file."""
    special = SpecialTokens.read(RunPaths(run).tokenizer)
    write_bytes(out / "README.md", card(recipe, run, generation_config(recipe, special), special).encode())
    return "README.md"


def config(recipe: Recipe, special: SpecialTokens = OURS) -> dict[str, Any]:
    """Return ``config.json``: a stock Llama."""
    shape = recipe.model
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": recipe.tokenizer.vocab_size,
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        # transformers 4 reads the first, 5 the second; without its own, each falls back to 10000.
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        **_ids(special),
        "use_cache": True,
        "dtype": "float32",
    }


def generation_config(recipe: Recipe, special: SpecialTokens = OURS) -> dict[str, Any]:
    """Return ``generation_config.json``: how the model samples by default.

    A story may fill the context. ``max_new_tokens`` would override the ``max_length`` that a caller passes.
    """
    defaults = {**_ids(special), "max_length": recipe.model.context}
    if recipe.generation.temperature == 0:
        return {**defaults, "do_sample": False}
    return {**defaults, "do_sample": True, **recipe.generation.model_dump(exclude={"max_new_tokens"})}


def _ids(special: SpecialTokens) -> dict[str, int]:
    return {
        "bos_token_id": special.begin,
        "eos_token_id": special.end,
        "pad_token_id": _padding(special),
    }


def _padding(special: SpecialTokens) -> int:
    """Return the id that pads: one that no text contains, because training masks it as a target.

    If the end token padded, a fine-tuned model would never learn to stop.
    """
    return special.end if special.unknown is None else special.unknown


def published_tokenizer(content: bytes, tokenizer: Tokenizer) -> bytes:
    """Return the ``tokenizer.json`` to publish; for text without special tokens, it is the same tokenizer.

    In ours, a special token takes the whitespace after it, so the space in ``</s> Once`` is no token. The
    decoder is ``ByteFallback`` alone, which decodes as it does with ``Fuse``. llama.cpp's converter takes a
    tokenizer with a sequence for Llama 2's and, without ``tokenizer.model``, writes wrong scores; this one it
    refuses.
    """
    if not spm.is_ours(tokenizer):
        return content
    rules = json.loads(content)
    for token in rules["added_tokens"]:
        token["rstrip"] = token["id"] != UNK
    rules["decoder"] = {"type": "ByteFallback"}
    return Tokenizer.from_str(json.dumps(rules)).to_str(pretty=True).encode()


def tokenizer_config(recipe: Recipe, special: SpecialTokens, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return ``tokenizer_config.json``."""
    more: dict[str, Any] = {}
    if special.unknown is not None:
        more["unk_token"] = tokenizer.id_to_token(special.unknown)
    if special.lead not in (None, special.begin):
        more["additional_special_tokens"] = [tokenizer.id_to_token(special.lead)]
    if not spm.problem(tokenizer):
        more["add_prefix_space"] = False  # llama.cpp's converter would add one
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.id_to_token(special.begin),
        "eos_token": tokenizer.id_to_token(special.end),
        "pad_token": tokenizer.id_to_token(_padding(special)),
        **more,
        "model_max_length": recipe.model.context,
        "padding_side": "left",
        "model_input_names": ["input_ids", "attention_mask"],  # Llama's generate refuses token_type_ids
        "clean_up_tokenization_spaces": False,
        # For the pipeline of transformers.js: add special tokens at all. transformers ignores it here.
        "add_bos_token": True,
        # text + eos_token is how everybody fine-tunes; spelt in bytes, the model would never learn to stop.
        "split_special_tokens": False,
    }
