"""One reader a format: what is declared, references, and what would hurt Blender. None of them imports Blender."""
