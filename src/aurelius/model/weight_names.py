"""The published names and shapes of a Llama's weights, used by every reader and writer."""

from aurelius.config.settings import ModelSettings

EMBEDDING, FINAL_NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
ATTENTION_NORM, MLP_NORM = "input_layernorm", "post_attention_layernorm"
Q, K, V, O = (f"self_attn.{letter}_proj" for letter in "qkvo")  # noqa: E741
GATE, UP, DOWN = (f"mlp.{part}_proj" for part in ("gate", "up", "down"))
NORMS = (ATTENTION_NORM, MLP_NORM)
MATRICES = (Q, K, V, O, GATE, UP, DOWN)


def layer_weight(layer: int, part: str) -> str:
    """Return the name of one of a layer's weights, such as ``model.layers.0.mlp.up_proj.weight``."""
    return f"model.layers.{layer}.{part}.weight"


def split_layer_weight(name: str) -> tuple[int, str]:
    """Return the layer and the part that a name stands for."""
    layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return int(layer), part


def weight_shapes(shape: ModelSettings, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return every weight's name and shape; matrices are [outputs, inputs]."""
    D, M = shape.d_model, shape.d_mlp
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    matrices = dict(
        zip(MATRICES, ((queries, D), (keys, D), (keys, D), (D, queries), (M, D), (M, D), (D, M)), strict=True)
    )
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (vocab_size, D), FINAL_NORM: (D,)}
    for layer in range(shape.layers):
        shapes |= {layer_weight(layer, part): size for part, size in matrices.items()}
        shapes |= {layer_weight(layer, part): (D,) for part in NORMS}
    return shapes
