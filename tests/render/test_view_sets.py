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


def test_what_each_set_of_a_recipe_has() -> None:
    """Numbers as published; where each is from stands in set_recipes.py."""
    four = of("four-papers:resolution=64")
    assert views(four) == {"orbit8": 8, "orbit24": 24, "six_views": 6}
    assert {s.render.resolution for s in four.values()} == {64}
    orbit24 = four["orbit24"].numbers
    assert orbit24 is not None and orbit24["rig"]["ranges"]["elevation"] == [5, 30]  # VideoMV: one of U(5°, 30°)
    assert orbit24["rig"]["ranges"]["per_view"] is False

    trellis = of("trellis")  # render.py: 150 views of 512², 40°; render_cond.py: 24 of 1024², 10° to 70°, each its own
    assert views(trellis) == {"trellis": 150, "trellis-cond": 24}
    assert [s.render.resolution for s in trellis.values()] == [512, 1024]
    rigs = [s.numbers["rig"] for s in trellis.values() if s.numbers]
    assert rigs[0]["fov"] == 40 and "ranges" not in rigs[0]
    assert rigs[1]["ranges"]["fov"] == [10, 70] and rigs[1]["ranges"]["per_view"] is True

    adapter = of("mv-adapter")  # its README: 10 orthographic views of 1024² and 6 random ones
    assert views(adapter) == {"ortho10": 10, "rand6": 6}
    assert adapter["ortho10"].render.resolution == 1024
    kinds = {name: s.numbers["rig"]["fov"] is None for name, s in adapter.items() if s.numbers}
    assert kinds == {"ortho10": True, "rand6": False}

    paint = of("hunyuan-paint", resolution=32)  # albedo, metallic-roughness, normals; three lights
    assert paint["paint-tex"].render.channels == ("normal", "albedo", "orm")
    lit = paint["paint-cond"].numbers
    assert lit is not None and lit["every"] is True
    assert [bool(look.get("hdris")) for look in lit["looks"]] == [True, False, False]
    assert [[lamp["kind"] for lamp in look["lights"]] for look in lit["looks"]] == [[], ["AREA"], ["POINT"]]
    assert described(paint["paint-cond"]).startswith(
        "paint-cond: 10 views of 32×32, rig ten_views, look env+area+point, env"
    )


def views(sets: dict[str, ViewSet]) -> dict[str, int]:
    return {name: len(s.numbers["rig"]["poses"]) for name, s in sets.items() if s.numbers}


def test_a_recipe_of_several_sets_and_one_of_one_set_may_share_a_name(tmp_path: Path) -> None:
    assert list(of("trellis")) == ["trellis", "trellis-cond"]
    (one,) = of("mine=trellis:samples=2").values()
    assert (one.name, one.render.recipe) == ("mine", "trellis")
    assert of("trellis=trellis") == {"trellis": of("trellis")["trellis"]}
    config = CorpusConfig(sources=(SourceConfig(spec="local:x"),), sets=tuple(of("trellis").values()))
    path = tmp_path / "recipe.yaml"
    path.write_text(config.to_yaml())
    assert sets_of_file(path, {}) == list(config.sets)


def test_recipes_of_several_sets_do_not_hide_rigs_and_are_whole() -> None:
    for name, recipe in SET_RECIPES.items():
        assert recipe.source and name not in RIG_NAMES
        assert len(of(name)) == len(recipe.sets) > 1


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("orbit9", "--views orbit9: there is no rig or recipe 'orbit9'; did you mean orbit8?"),
        ("a=trelis", "no rig or recipe 'trelis'; did you mean trellis?"),
        ("mvadapter", "did you mean mv-adapter?"),
        ("hunyuan3d-paint", "did you mean hunyuan-paint?"),
        ("trellis-2", "did you mean trellis2?"),
        ("fourpapers", "did you mean four-papers?"),
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
