"""The default look's light against integrals over the sphere, Fresnel's equations, and Cycles' own tracing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import trimesh
from PIL import Image

from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.looks import STUDIO
from dataengine.render.passes import read_passes
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.views import views_of
from tests.render.analytic import rays
from tests.render.models import glb_json, patch_glb, pixels, request, textured_quad, write_glb

Array = npt.NDArray[Any]
SIZE = 48
TRACED = dataclasses.replace(STUDIO, closed_form=False).to_json()


def ball(where: float = 0.0, radius: float = 0.5, **material: Any) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    normals = mesh.vertices / radius
    surface = trimesh.visual.material.PBRMaterial(**{"metallicFactor": 0.0, "roughnessFactor": 1.0} | material)
    visual = trimesh.visual.TextureVisuals(material=surface)
    places = mesh.vertices + np.array([where, 0.0, 0.0])
    return trimesh.Trimesh(places, mesh.faces, vertex_normals=normals, visual=visual, process=False)


def with_extension(path: Path, **extensions: Any) -> Path:
    """Says more of all materials."""
    materials = [m | {"extensions": extensions} for m in glb_json(path)["materials"]]
    return patch_glb(path, materials=materials, extensionsUsed=[*extensions])


def surroundings(z: Array) -> Array:
    """Radiance at a direction's height."""
    return np.interp(z, [-1.0, 0.0, 1.0], [colour[0] for colour in STUDIO.world.colours])


def light_on(normals: Array) -> Array:
    """E(n) / π by brute force: suns, and the surroundings summed over directions."""
    z, around = np.meshgrid(np.linspace(-1, 1, 402)[1:-1], np.linspace(0, 2 * np.pi, 400, endpoint=False))
    flat = np.sqrt(1 - z**2)
    directions = np.stack([flat * np.cos(around), flat * np.sin(around), z], -1).reshape(-1, 3)
    solid_angle = 4 * np.pi / len(directions)
    cosines = np.maximum(normals @ directions.T, 0)
    total = cosines @ surroundings(directions[:, 2]) * solid_angle / np.pi
    for sun in STUDIO.lights:
        towards = -np.array(sun.towards) / np.linalg.norm(sun.towards)
        total = total + sun.energy / np.pi * np.maximum(normals @ towards, 0)
    return np.asarray(total)


def sphere_hits(wanted: RenderRequest, view: int) -> tuple[Array, Array, Array]:
    """Where rays through the pixels' centres meet a sphere of radius 0.5 well inside its outline: mask, normals there,
    and directions to the eye."""
    origin, direction = rays(wanted.cameras[view], SIZE, SIZE)
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    b = (origin * direction).sum(-1)
    under = b**2 - ((origin**2).sum(-1) - 0.25)
    normals = (origin + direction * (-b - np.sqrt(np.maximum(under, 0)))[..., None]) / 0.5
    inside = (under > 0) & (-(normals * direction).sum(-1) > 0.35)
    return inside, normals[inside], -direction[inside]


def linear(srgb: Array) -> Array:
    x = srgb / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def test_a_matt_ball_is_as_bright_as_the_light_that_reaches_it(blender: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "ball.glb", ball(baseColorFactor=[0.8, 0.4, 0.1, 1.0]))
    with_extension(path, KHR_materials_specular={"specularFactor": 0.0})
    wanted = request(path, views=3, size=SIZE, samples=16)
    _, rgba, _ = pixels(blender, wanted)
    for view in range(3):
        inside, normals, _ = sphere_hits(wanted, view)
        expected = light_on(normals)[:, None] * np.array([0.8, 0.4, 0.1])
        assert np.abs(linear(rgba[view][inside][:, :3]) - expected).max() < 0.012
        assert np.abs(linear(rgba[view][inside][:, :3]) - expected).mean() < 0.003


def test_a_smooth_dielectric_mirrors_as_fresnel_says(blender: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "ball.glb", ball(baseColorFactor=[0.0, 0.0, 0.0, 1.0], roughnessFactor=0.0))
    wanted = request(path, size=SIZE, samples=16)
    _, rgba, _ = pixels(blender, wanted)
    inside, normals, eye = sphere_hits(wanted, 0)
    cosine = (normals * eye).sum(-1)
    refracted = np.sqrt(1 - (1 - cosine**2) / 1.5**2)
    parallel = (1.5 * cosine - refracted) / (1.5 * cosine + refracted)
    across = (cosine - 1.5 * refracted) / (cosine + 1.5 * refracted)
    mirrored = 2 * cosine * normals[:, 2] - eye[:, 2]
    expected = (parallel**2 + across**2) / 2 * surroundings(mirrored)
    assert np.abs(linear(rgba[0][inside][:, 0]) - expected).max() < 0.01


def test_what_glows_is_as_bright_as_it_says_and_lights_nothing(blender: BlenderPool, tmp_path: Path) -> None:
    lamp = ball(-0.6, baseColorFactor=[0.0, 0.0, 0.0, 1.0], emissiveFactor=[0.5, 0.25, 0.0])
    path = write_glb(tmp_path / "lamp.glb", lamp, ball(0.6, baseColorFactor=[0.5, 0.5, 0.5, 1.0]))
    with_extension(path, KHR_materials_specular={"specularFactor": 0.0})
    _, rgba, _ = pixels(blender, request(path, size=SIZE, samples=4))
    left, right = rgba[0][SIZE // 2, SIZE // 4], rgba[0][SIZE // 2, SIZE * 3 // 4]
    assert np.abs(linear(left[:3].astype(float)) - [0.5, 0.25, 0.0]).max() < 0.01
    assert np.ptp(right[:3].astype(int)) <= 1  # grey


MATERIALS: dict[str, dict[str, Any]] = {
    "plastic": {"baseColorFactor": [0.7, 0.2, 0.1, 1.0], "roughnessFactor": 0.4},
    "smooth metal": {"baseColorFactor": [0.9, 0.7, 0.3, 1.0], "roughnessFactor": 0.1, "metallicFactor": 1.0},
    "metal": {"baseColorFactor": [0.9, 0.7, 0.3, 1.0], "roughnessFactor": 0.4, "metallicFactor": 1.0},
    "rough metal": {"baseColorFactor": [0.8, 0.3, 0.1, 1.0], "roughnessFactor": 1.0, "metallicFactor": 1.0},
    "half a metal": {"baseColorFactor": [0.9, 0.7, 0.3, 1.0], "roughnessFactor": 0.5, "metallicFactor": 0.5},
    "veil": {"baseColorFactor": [0.2, 0.5, 0.8, 0.4], "roughnessFactor": 0.6, "alphaMode": "BLEND"},
}


@pytest.mark.parametrize("name", MATERIALS)
def test_it_looks_as_it_does_traced(blender: BlenderPool, tmp_path: Path, name: str) -> None:
    path = write_glb(tmp_path / "ball.glb", ball(**MATERIALS[name]))
    _, ours, _ = pixels(blender, request(path, size=SIZE, samples=32))
    _, traced, _ = pixels(blender, request(path, size=SIZE, samples=256, look=TRACED))
    inside = sphere_hits(request(path, size=SIZE), 0)[0]
    apart = np.abs(ours[0][inside].astype(float) - traced[0][inside])
    assert apart[:, :3].mean() < 7 and np.percentile(apart[:, :3], 95) < 12
    assert apart[:, 3].mean() < 3


def test_glass_keeps_its_reflections(blender: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "ball.glb", ball(roughnessFactor=0.0))
    with_extension(path, KHR_materials_transmission={"transmissionFactor": 1.0})
    _, ours, _ = pixels(blender, request(path, size=SIZE, samples=1))
    _, traced, _ = pixels(blender, request(path, size=SIZE, samples=1, look=TRACED))
    assert np.array_equal(ours, traced)


def tilted(path: Path, degrees: float) -> Path:
    """A quad that faces the viewer, whose normal map turns all of its normals to the right."""
    angle = np.radians(degrees)
    pixel = np.round((np.array([np.sin(angle), 0.0, np.cos(angle)]) + 1) * 127.5).astype(np.uint8)
    quad = textured_quad(Image.new("RGB", (8, 8), (128, 128, 128)))
    quad.visual.material.normalTexture = Image.fromarray(np.tile(pixel, (8, 8, 1)))
    return write_glb(path, quad)


@pytest.fixture
def normal_and_colour(blender: BlenderPool, tmp_path: Path) -> Callable[[float], tuple[Array, Array]]:
    def of(degrees: float) -> tuple[Array, Array]:
        path = with_extension(tilted(tmp_path / "quad.glb", degrees), KHR_materials_specular={"specularFactor": 0.0})
        wanted = request(path, views=1, size=SIZE, samples=4, channels=["normal"])
        reply = blender.render(wanted)
        views = views_of(read_passes(reply.exr), wanted.cameras, wanted.channels)
        discard(reply)
        middle = SIZE // 2
        return views.channels.arrays["normal"][0, middle, middle], views.rgba[0, middle, middle, :3]

    return of


def test_normal_maps_count_in_the_channel_and_in_the_light(
    normal_and_colour: Callable[[float], tuple[Array, Array]],
) -> None:
    normal, colour = normal_and_colour(30.0)
    expected = np.array([np.sin(np.radians(30)), -np.cos(np.radians(30)), 0.0])
    assert np.degrees(np.arccos(np.clip(normal @ expected, -1, 1))) < 0.7
    grey = linear(np.array(128.0))
    assert np.abs(linear(colour.astype(float)) - grey * light_on(expected[None])[0]).max() < 0.006
