"""Several view sets in corpus.yaml, and that one set alone is written and hashed as it was before."""

import pytest

from dataengine.corpus.config import CorpusConfig, Limits, RenderConfig, SourceConfig, ViewSet, content_hash
from dataengine.errors import UsageError

SOURCES = (SourceConfig(spec="local:models"),)
LIMITS = """\
limits: {cpu_seconds: 120.0, wall_seconds: 600.0, memory_bytes: 8589934592, file_bytes: 2147483648, texture_pixels: 268435456,
  elements: 50000000, objects: 10000, materials: 1000}
"""  # noqa: E501 - as it was written
TAIL = """\
where: null
limit: null
sample: null
captions: []
shard_size: 256
guess_up: true
"""
BEFORE = f"""\
format: 2
version: '0'
sources:
- {{spec: 'local:models', revision: null}}
views:
  zero123:
    rig: zero123
    look: zero123
    recipe: zero123
    resolution: 64
    samples: 4
    engine: cycles
    frame: 3
    revision: 2
    numbers:
      rig: {{}}
      look: {{}}
      samples: 4
seed: 7
{LIMITS}plan_sha256: null
{TAIL}"""


def one_set() -> CorpusConfig:
    render = RenderConfig(recipe="zero123", rig="zero123", look="zero123", resolution=64, samples=4, frame=3, seed=7)
    numbers = {"rig": {}, "look": {}, "samples": 4}
    return CorpusConfig(
        version="0", sources=SOURCES, sets=(ViewSet(name="zero123", render=render, numbers=numbers, revision=2),)
    )


def test_one_set_is_written_and_hashed_as_before_there_were_several() -> None:
    """The text and the hashes were made by the release before."""
    assert one_set().to_yaml() == BEFORE
    assert one_set().sets[0].input == "-14e7a2ab57a3aeae"
    assert CorpusConfig(sources=SOURCES).sets[0].input == "-2fdf15a59573affb"
    assert CorpusConfig(sources=SOURCES).sets[0].stage == "views/orbit8"
    old = CorpusConfig(format=1, version="0", sources=SOURCES, sets=(ViewSet(render=one_set().sets[0].render),))
    assert (old.sets[0].stage, old.sets[0].input) == ("views", "")
    assert content_hash(old.to_yaml()) == content_hash(BEFORE_IN_FORMAT_1)


BEFORE_IN_FORMAT_1 = f"""\
format: 1
version: '0'
sources:
- {{spec: 'local:models', revision: null}}
render:
  rig: zero123
  look: zero123
  recipe: zero123
  resolution: 64
  samples: 4
  engine: cycles
  frame: 3
  seed: 7
  {LIMITS.replace("  elements", "    elements")}{TAIL}"""


def test_several_sets_survive_the_file_and_share_seed_and_limits() -> None:
    wide = {"seed": 5, "limits": Limits(cpu_seconds=9)}
    near, far = (RenderConfig(rig=rig, **wide) for rig in ("orbit8", "six_views"))
    config = CorpusConfig(sources=SOURCES, sets=(ViewSet(render=near), ViewSet(name="flat", render=far, revision=2)))
    again = CorpusConfig.from_yaml(config.to_yaml(), "here")
    assert again == config and (again.seed, again.limits.cpu_seconds) == (5, 9)
    assert [s.stage for s in again.sets] == ["views/orbit8", "views/flat"]
    assert config.to_yaml().count("seed:") == 1
    with pytest.raises(ValueError, match="one seed and the same limits"):
        CorpusConfig(sources=SOURCES, sets=(ViewSet(render=near), ViewSet(name="b", render=RenderConfig())))
    with pytest.raises(ValueError, match="two view sets have one name"):
        CorpusConfig(sources=SOURCES, sets=(ViewSet(), ViewSet()))


def test_a_sets_name_does_not_enter_its_hash_and_is_a_folders() -> None:
    assert ViewSet(name="a").input == ViewSet(name="b").input
    for name in ("", "../x", "a/b", ".hidden", "x" * 65):
        with pytest.raises(ValueError, match="name"):
            ViewSet(name=name)


def test_a_set_is_found_by_name_and_the_only_one_without() -> None:
    config = CorpusConfig(sources=SOURCES, sets=(ViewSet(), ViewSet(name="orbit24")))
    assert config.view_set("orbit24").name == "orbit24"
    assert [s.name for s in config.chosen_sets()] == ["orbit8", "orbit24"]
    assert [s.name for s in config.chosen_sets(["orbit24"])] == ["orbit24"]
    with pytest.raises(UsageError, match="no view set 'orbit42'; did you mean orbit24"):
        config.view_set("orbit42")
    with pytest.raises(UsageError, match="the view sets orbit8, orbit24: say which"):
        config.view_set()
    assert one_set().view_set().name == "zero123"


@pytest.mark.parametrize(
    "views",
    [
        "views: 3",
        "views: {}",
        "views: {orbit8: 3}",
        "views: {'a/b': {rig: orbit8}}",
        "views: {3: {}}",
        "views: {a: {x: 1}}",
    ],
)
def test_a_damaged_section_is_one_line(views: str) -> None:
    text = f"format: 2\nsources: []\n{views}\n"
    with pytest.raises(UsageError, match="^here: ") as refusal:
        CorpusConfig.from_yaml(text, "here")
    assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match="^here: "):
        CorpusConfig.from_yaml("format: 1\nsources: []\nrender: {rig: 3}\n", "here")
    assert CorpusConfig.from_yaml("format: 1\nsources: []\n", "here").sets[0].stage == "views"
