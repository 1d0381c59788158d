"""A folder that stock transformers loads, 4.57 and 5, with no custom code."""

import json
from pathlib import Path
from string import Template
from typing import Any

from aurelius.artifacts import read_json, write_bytes, write_json
from aurelius.recipe import Recipe
from aurelius.training.checkpoint import latest
from aurelius.vocabulary import BOS, EOS

SHOWN = ("do_sample", "temperature", "min_p", "max_new_tokens")  # in the card's snippet


def write(recipe: Recipe, run: Path, out: Path) -> None:
    """Write weights, tokenizer, configurations and model card of a run's newest checkpoint.

    Raises:
        RunError, ModelError: an earlier artifact is missing.
    """
    write_bytes(out / "model.safetensors", (latest(run / "training") / "model.safetensors").read_bytes())
    write_bytes(out / "tokenizer.json", (run / "tokenizer" / "tokenizer.json").read_bytes())
    write_json(out / "config.json", config(recipe))
    write_json(out / "generation_config.json", generation_config(recipe))
    write_json(out / "tokenizer_config.json", tokenizer_config(recipe))
    write_bytes(out / "README.md", card(recipe, run).encode())


def config(recipe: Recipe) -> dict[str, Any]:
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
        # transformers 4 reads the first, 5 the second; either alone lets the other fall back to 10000.
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
        "use_cache": True,
        "dtype": "float32",
    }


def generation_config(recipe: Recipe) -> dict[str, Any]:
    """Return ``generation_config.json``: how the model samples unless told otherwise."""
    sampling = recipe.generation
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS}
    if sampling.temperature == 0:
        return {**ids, "do_sample": False, "max_new_tokens": sampling.max_new_tokens}
    return {**ids, "do_sample": True, **sampling.model_dump()}


def tokenizer_config(recipe: Recipe) -> dict[str, Any]:
    """Return ``tokenizer_config.json``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "additional_special_tokens": ["<sink>"],
        "model_max_length": recipe.model.context,
        "padding_side": "left",
        "model_input_names": ["input_ids", "attention_mask"],  # Llama's generate refuses token_type_ids
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # "</s>" typed by a user stays text
    }


def card(recipe: Recipe, run: Path) -> str:
    """Return the model card, its figures taken from the run's evaluation."""
    report = read_json(run / "evaluation" / "report.json")
    source = read_json(run / "corpus" / "report.json")
    shape, figures, packed = recipe.model, report["documentwise"], report["packed"]
    trained = report["trained"]
    packed_line = "not measured: fewer held-out tokens than one block"
    if packed:
        plain, card_way = packed["nats_per_token"], packed["nats_per_token_with_begin"]
        packed_line = f"{plain:.4f} nats a token ({card_way:.4f} with `<s>` as a target)"
    given = recipe.corpus.source
    sources = [given] if isinstance(given, str) else given
    # A path is the author's own business.
    origin = " and ".join(name if name.startswith("hf:") else Path(name).name for name in sources)
    hub = dict.fromkeys("/".join(s[3:].split("/")[:2]) for s in sources if s.startswith("hf:"))
    metadata = "datasets:\n" + "".join(f"- {name}\n" for name in hub) if hub else ""
    settings = generation_config(recipe)
    template = Template((Path(__file__).parent / "card.md").read_text(encoding="utf-8"))
    return template.substitute(
        metadata=metadata,
        name=recipe.name,
        parameters=f"{report['parameters']:,}",
        shape=f"{shape.layers} layers, width {shape.d_model}, MLP {shape.d_mlp}, {shape.heads} query heads, "
        f"{shape.kv_heads} key/value heads, context {shape.context}, "
        f"vocabulary {recipe.tokenizer.vocab_size}",
        source=origin,
        stories=f"{source['train']['stories']:,}",
        tokens=f"{trained['tokens']:,}",
        epochs=f"{trained['epoch']:.1f}",
        steps=f"{trained['step']:,}",
        bits_per_byte=f"{figures['bits_per_byte']:.4f} ± {figures['standard_error']:.4f}",
        nats=f"{figures['nats_per_token']:.4f}",
        packed=packed_line,
        documents=f"{figures['documents']:,}",
        prompt=json.dumps(report["samples"][0]["prompt"]),
        sample=report["samples"][0]["text"].replace("\n", "\n> "),
        sampling=", ".join(f"{name}={settings[name]}" for name in SHOWN if name in settings),
    )
