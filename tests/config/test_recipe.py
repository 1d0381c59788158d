import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelius.config import shipped as recipes
from aurelius.config.recipe import Recipe, parse_override
from aurelius.errors import RecipeError

# Golden: the reference cards of the Aurelius family, and llama2.c's stories260K.
PARAMETERS = {
    "pico": 260_032,
    "nano-4k": 1_472_384,  # no card's: by the count of `Llama`, as all are
    "nano": 1_488_768,
    "v0.5": 3_221_952,
    "small": 4_033_728,
    "large-portable": 9_810_816,
    "large": 9_921_408,
}


def test_shipped_recipes_have_the_published_sizes():
    shipped = {
        file.name for file in (files("aurelius.config") / "recipes").iterdir() if file.name.endswith(".toml")
    }
    assert shipped == {f"{name}.toml" for name in recipes.NAMES}
    assert {name: Recipe.load(name).parameters for name in recipes.NAMES} == PARAMETERS


def test_large_is_the_card():
    recipe = Recipe.load("large")
    assert recipe.tokens_per_step == 26_624
    assert recipe.tokens_per_step * recipe.training.steps == 805_429_248
    assert recipe.model.rope_theta == 812.5


@pytest.mark.parametrize("name", PARAMETERS)
def test_resolved_recipe_reads_back_the_same(name: str):
    recipe = Recipe.load(name)
    assert Recipe.of(tomllib.loads(recipe.to_toml())) == recipe


@given(
    heads=st.integers(1, 8),
    half=st.integers(1, 32),
    layers=st.integers(1, 12),
    mlp=st.integers(1, 4096),
    rate=st.floats(1e-6, 1),
    description=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])),
)
def test_any_good_recipe_survives_toml(heads, half, layers, mlp, rate, description):
    recipe = Recipe.load(
        "nano",
        {
            "description": description,
            "model.heads": heads,
            "model.kv_heads": heads,
            "model.d_model": heads * half * 2,
            "model.layers": layers,
            "model.d_mlp": mlp,
            "optimizer.learning_rate": rate,
        },
    )
    assert Recipe.of(tomllib.loads(recipe.to_toml())) == recipe


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training.stesp", 3, ["training.stesp = 3", "did you mean 'steps'"]),
        ("modle", {}, ["modle", "did you mean 'model'"]),
        ("model.layers", "6", ["model.layers = '6'", "integer"]),
        ("model.layers", True, ["model.layers = True", "integer"]),
        ("model.layers", 2.5, ["model.layers = 2.5", "integer"]),
        ("model", 3, ["model = 3"]),
        ("model.heads", 3, ["heads 3", "d_model 128"]),
        ("model.heads", 128, ["head_dim 1", "odd"]),
        ("model.kv_heads", 3, ["kv_heads 3", "heads 4"]),
        ("model.context", 7, ["model.context = 7", "8"]),
        ("model.rope_theta", float("nan"), ["rope_theta = nan"]),
        ("tokenizer.vocab_size", 300, ["vocab_size 300", "256 byte tokens", "356"]),
        ("tokenizer.vocab_size", 70_000, ["vocab_size = 70000", "65536"]),
        ("tokenizer.normalizer", "nfkc", ["'nfkc'", "portable", "reference"]),
        ("training.accumulate", 3, ["accumulate 3", "batch 4"]),
        ("training.warmup", 0.9, ["0.9", "above 1"]),
        ("training.steps", 0, ["steps is 0"]),
        ("model.layers", 10**9, ["model.layers = 1000000000", "1000"]),
        ("training.steps", -1, ["training.steps = -1"]),
        ("corpus.valid_fraction", 0.0, ["valid_fraction = 0.0", "greater than 0"]),
        ("corpus.min_words", 5000, ["min_words 5000", "max_words 2000"]),
        ("name", "../x", ["name = '../x'"]),
    ],
)
def test_bad_values_are_refused_by_name(key: str, value, words: list[str]):
    with pytest.raises(RecipeError) as caught:
        Recipe.load("nano", {key: value})
    for word in words:
        assert word in str(caught.value)


def test_unknown_recipe_lists_the_known():
    with pytest.raises(RecipeError, match="did you mean 'nano'"):
        Recipe.load("nanno")
    with pytest.raises(RecipeError, match=r"missing\.toml does not exist"):
        Recipe.load("missing.toml")


def test_a_file_that_is_not_toml(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("name = = 3")
    with pytest.raises(RecipeError, match=r"bad\.toml is not TOML"):
        Recipe.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        Recipe.load(path)


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + Recipe.load("nano").to_toml().encode())
    assert Recipe.load(str(tmp_path / "mine.toml")) == Recipe.load("nano")


def test_paths_may_be_path_objects(tmp_path):
    assert Recipe.load("nano", {"corpus.source": tmp_path}).corpus.source == str(tmp_path)
    assert Recipe.load("nano").with_(**{"corpus.source": [tmp_path]}).corpus.source == [str(tmp_path)]


def test_missing_fields_are_named(tmp_path):
    path = tmp_path / "short.toml"
    path.write_text('name = "x"\n[model]\nlayers = 1\n[training]\nsteps = 1\n')
    with pytest.raises(RecipeError, match=r"model\.d_model is missing"):
        Recipe.load(path)


def test_recipes_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        Recipe.load("nano").name = "other"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.steps=2000", ("training.steps", 2000)),
        ("training.gradient_clip = 0.5", ("training.gradient_clip", 0.5)),
        ('corpus.source="a=b"', ("corpus.source", "a=b")),
        ("corpus.source=my stories.txt", ("corpus.source", "my stories.txt")),
    ],
)
def test_overrides_are_read_as_toml_else_text(text: str, expected):
    assert parse_override(text) == expected


def test_override_without_equals():
    with pytest.raises(RecipeError, match="KEY=VALUE"):
        parse_override("training.steps")
