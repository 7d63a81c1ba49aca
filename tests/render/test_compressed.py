"""Compressed glTF becomes the plain GLB that Blender reads."""

import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("meshopt")
pytest.importorskip("opengl_basisu")
