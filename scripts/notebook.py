"""`scripts/notebook.py FOLDER [COPY]` runs docs/notebook.ipynb, or a copy, in the tutorial's folder, with outputs."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """A copy of a notebook with the outputs that its cells give in a folder.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    copy = nbformat.from_dict(notebook)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(copy, timeout=120, kernel_name="python3", resources=resources, record_timing=False).execute()


if __name__ == "__main__":
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else NOTEBOOK
    made = executed(nbformat.read(file, as_version=4), Path(sys.argv[1]))
    for output in (output for cell in made.cells for output in cell.get("outputs", ()) if "data" in output):
        if "image/png" in output.data:
            output.data = {"image/png": output.data["image/png"]}  # Pillow gives a JPEG too
    made.metadata.language_info = {"name": "python"}  # not the version of whoever ran it last
    nbformat.write(made, file)
