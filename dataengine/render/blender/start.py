"""The file that the pool starts, by path: `python start.py REQUESTS REPLIES LIFE CHANNEL`, four file descriptors.

The program must run under an interpreter that has numpy and bpy only, so it may not import `dataengine`, whose
`__init__` wants more. This file makes its own folder importable as the package `blender` and nothing else beside it.
"""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    # The interpreter put this folder first: modules named `textures` or `sandbox` there must not shadow others.
    sys.path[0] = str(folder.parent)
    program = importlib.import_module(f"{folder.name}.main")
    del sys.path[0]
    program.main(*(int(fd) for fd in sys.argv[1:5]))
