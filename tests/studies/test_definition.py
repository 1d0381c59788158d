from pathlib import Path

import pytest

from aurelius.errors import CompareError, RecipeError
from aurelius.studies.definition import Study, arms_of, trials_of

PLAIN = {"title": "T", "recipe": "pico", "grid": {"training.batch": [2, 4]}}
STUDIES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_our_studies_are_valid(path: Path):
    study = Study.load(path)
    assert len(trials_of(study, path.parent)) == len(arms_of(study)) * len(study.seeds)


def test_arms_are_what_is_listed_times_the_grid():
    study = Study.of(
        {
            **PLAIN,
            "seeds": [3, 1],
            "grid": {"training": {"batch": [2, 4]}, "model.d_mlp": [64]},
            "arms": [{"name": "deep", "set": {"model": {"layers": 9}}}, {"name": "flat", "set": {}}],
        }
    )
    arms = arms_of(study)
    assert [arm.name for arm in arms] == [
        f"{listed}, batch={batch}, d_mlp=64" for listed in ("deep", "flat") for batch in (2, 4)
    ]
    assert arms[0].changes == {"model.layers": 9, "training.batch": 2, "model.d_mlp": 64}
    assert arms[0].name_without("training.batch") == "deep, d_mlp=64"
    trials = trials_of(study, Path())
    assert [trial.seed for trial in trials] == [3] * 4 + [1] * 4, "all arms of a seed before the next seed"
    assert trials[5].recipe.training.seed == 1 and trials[5].recipe.model.layers == 9
    assert len({trial.folder for trial in trials}) == 8


def test_a_budget_becomes_steps_of_each_arm():
    study = Study.of(PLAIN | {"tokens": 40_000})
    steps = [trial.recipe.training.steps for trial in trials_of(study, Path())]
    assert steps == [round(40_000 / (batch * 512)) for batch in (2, 4)]
    timed = trials_of(Study.of(PLAIN | {"minutes": 2.0}), Path())[0].recipe.training
    assert (timed.steps, timed.minutes) == (0, 2.0)


def test_files_are_recorded_without_their_folders(tmp_path: Path):
    study = Study.of(PLAIN | {"set": {"corpus.source": [str(tmp_path / "a.txt"), "storyteller"]}})
    assert trials_of(study, Path())[0].changes["corpus.source"] == ["a.txt", "storyteller"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {}}, "one arm"),
        ({"grid": {"training.batch": 4}}, "needs a list"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "twice"),
        ({"tokens": 5, "minutes": 1.0}, "choose one"),
        ({"baseline": "batch=22"}, "did you mean 'batch=2'"),
        ({"x": "model.layers"}, "every arm has to set it"),
        ({"quesiton": "?"}, "did you mean 'question'"),
        ({"measure": "loss"}, "measure"),
        ({"figures": ["bottelneck.head_effective_rank"]}, "not an instrument; known are pairs, "),
        ({"figures": ["pairs.mean"]}, "name their folder"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "two arms called"),
        ({"grid": {"corpus.seed": [0, 1]}}, "different corpora"),
    ],
)
def test_what_does_not_add_up_is_refused(change: dict, message: str):
    with pytest.raises(CompareError, match=message):
        trials_of(Study.of(PLAIN | change), Path())


def test_a_mistake_in_a_recipe_is_found_before_anything_is_trained():
    with pytest.raises(RecipeError, match=r"did you mean 'batch'"):
        trials_of(Study.of(PLAIN | {"set": {"training.bacth": 4}}), Path())
    with pytest.raises(CompareError, match="is not TOML"):
        bad = Path(__file__)
        Study.load(bad)
    with pytest.raises(CompareError, match="does not exist"):
        Study.load(Path("nowhere.toml"))
