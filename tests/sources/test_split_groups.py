from dataengine.sources.split_groups import group_ids


def same(*paths: str, fingerprints: list[str | None] | None = None) -> bool:
    return len(set(group_ids(paths, fingerprints or [None] * len(paths)))) == 1


def test_one_model_in_several_formats_is_one_group() -> None:
    assert same("a/chair.glb", "a/chair.obj", "a/Chair.FBX")
    assert same("glb/chair.glb", "obj/chair.obj")
    assert same("Duck/glTF-Binary/Duck.glb", "Duck/glTF/Duck.gltf", "Duck/glTF-Draco/Duck.gltf")
    assert same("kk_chest_gold.glb", "kkobj_chest_gold/chest_gold.obj", "kkfbx_chest_gold.fbx")
    assert same("kl_pizza_obj/pizza.obj", "kl_pizza_usda/pizza.usda")
    assert same("chair.glb", "chair/model.obj")


def test_hands_and_colours_are_variants_of_one_model() -> None:
    assert same("glove/left.glb", "glove/right.glb", "glove/none.glb")
    assert same("glove-left.glb", "glove_right.glb", "glove.glb")
    assert same("mug_red.glb", "blue-mug.glb", "mug.obj")
    assert not same("glove/left.glb", "hammer/left.glb")
    assert not same("swatches/red.glb", "swatches/blue.glb")


def test_what_the_owner_names_belongs_together() -> None:
    ids = group_ids(["a.glb", "b.glb", "c.glb", "d.glb"], [None] * 4, ["x", None, "x", None])
    assert ids[0] == ids[2] and len(set(ids)) == 3


def test_different_models_are_different_groups() -> None:
    for pair in (("a/x.glb", "b/x.glb"), ("chair_1.glb", "chair_2.glb"), ("a/model.obj", "b/model.obj")):
        assert not same(*pair)
    assert not same("set/chair.obj", "set/table.obj", "set.glb")
    assert not same("椅子.glb", "桌子.glb")
    assert not same("🦆.glb", "🐈.glb")


def test_equal_geometry_joins_whole_groups() -> None:
    paths = ["a.glb", "a.obj", "copy of something.glb", "z.glb"]
    ids = group_ids(paths, ["f", None, "f", "g"])
    assert ids[0] == ids[1] == ids[2] != ids[3]
