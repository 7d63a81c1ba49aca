"""View sets from words and files: what is taken, what it becomes, and what is said of the rest."""

from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.errors import UsageError
from dataengine.render.recipes import RECIPES
from dataengine.render.rigs import RIG_NAMES
from dataengine.render.set_recipes import SET_RECIPES
from dataengine.render.view_sets import described, frozen_set, sets_of_file, sets_of_words


def of(*words: str, **beside: Any) -> dict[str, ViewSet]:
    return {s.name: s for s in sets_of_words(words, beside)}


def test_a_name_a_rig_and_settings() -> None:
    found = of("orbit8", "wide=orbit24:look=syncdreamer,resolution=96", samples=3)
    assert list(found) == ["orbit8", "wide"]
    assert found["orbit8"].render == RenderConfig(samples=3)
    assert found["wide"].render == RenderConfig(rig="orbit24", look="syncdreamer", resolution=96, samples=3)
    assert found["wide"].numbers is not None and len(found["wide"].numbers["rig"]["poses"]) == 24
    assert described(found["wide"]) == "wide: 24 views of 96×96, rig orbit24, look syncdreamer, 3 samples"


def test_what_stands_beside_holds_unless_a_set_says_otherwise() -> None:
    found = of("orbit8", "six_views:resolution=32", "zero123", resolution=64, look="syncdreamer", seed=3)
    assert [s.render.resolution for s in found.values()] == [64, 32, 64]
    assert [s.render.look for s in found.values()] == [
        "syncdreamer",
        "syncdreamer",
        "zero123",
    ]  # a recipe is a rig and its look
    assert {s.render.seed for s in found.values()} == {3}
    assert found["zero123"].render.samples is None and found["zero123"].numbers["samples"] == 128  # type: ignore[index]


def test_a_recipe_brings_several_sets() -> None:
    found = of("four-papers:samples=2", resolution=32)
    assert list(found) == ["orbit8", "orbit24", "six_views"]
    assert {(s.render.resolution, s.render.samples) for s in found.values()} == {(32, 2)}


def test_recipes_of_several_sets_do_not_hide_rigs_and_are_whole() -> None:
    for name, recipe in SET_RECIPES.items():
        assert recipe.source and name not in RIG_NAMES
        assert len(of(name)) == len(recipe.sets) > 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("orbit9", "--views orbit9: there is no rig or recipe 'orbit9'; did you mean orbit8?"),
        ("a=trelis", "no rig or recipe 'trelis'; did you mean trellis?"),
        ("orbit8:resolutoin=96", "there is no setting 'resolutoin'; did you mean resolution?"),
        ("orbit8:resolution", "'resolution' is not key=value"),
        ("orbit8:resolution=big", "resolution: input should be a valid integer"),
        ("orbit8:resolution=8", "resolution: input should be greater than or equal to 16"),
        ("orbit8:look=studoi", "unknown look 'studoi'"),
        ("orbit8:seed=4", "seed holds for the whole corpus: give it beside the sets"),
        ("zero123:look=syncdreamer", "recipe zero123 already says which rig and look"),
        ("mine=four-papers", "four-papers brings the sets orbit8, orbit24, six_views"),
        ("a/b=orbit8", "'a/b' cannot be a set's name"),
        ("=orbit8", "'' cannot be a set's name"),
        ("", "there is no rig or recipe ''"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(word: str, said: str) -> None:
    with pytest.raises(UsageError) as refusal:
        of(word)
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_two_sets_of_one_name() -> None:
    with pytest.raises(UsageError, match="two sets are called orbit8; name one of them"):
        of("orbit8", "four-papers")
    assert len(of("four-papers", "near=orbit8:resolution=32")) == 4


def test_a_file_is_the_section_of_corpus_yaml(tmp_path: Path) -> None:
    sets = sets_of_words(["orbit8:resolution=48", "z=zero123:samples=2", "six_views"], {"seed": 2})
    config = CorpusConfig(sources=(SourceConfig(spec="local:x"),), sets=tuple(sets))
    path = tmp_path / "recipe.yaml"
    path.write_text(config.to_yaml())
    assert sets_of_file(path, {"seed": 2}) == sets
    path.write_text("views: {orbit8: {resolution: 48}, z: {recipe: zero123, samples: 2}, six_views: }")
    assert sets_of_file(path, {"seed": 2}) == sets


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("views: [", "is not YAML"),
        ("[]", "has no section `views:`"),
        ("views: {}", "has no section `views:`"),
        ("views: {orbit8: 3}", "orbit8 is not a section of settings"),
        ("views: {orbit8: {resolutoin: 3}}", "no setting 'resolutoin'; did you mean resolution?"),
        ("views: {orbit8: {seed: 3}}", "seed holds for the whole corpus"),
        ("views: {orbit8: {revision: 1}}", "was frozen with another revision than this version has"),
        ("views: {orbit8: {numbers: {samples: 1}}}", "was frozen with another numbers than"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refusal:
        sets_of_file(path, {})
    assert said in str(refusal.value) and str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_every_recipe_is_a_set_of_its_own_name() -> None:
    for name in RECIPES:
        if name not in SET_RECIPES:
            assert list(of(name)) == [name]
    assert frozen_set(RenderConfig(), "x").name == "x"
