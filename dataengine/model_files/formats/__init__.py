"""One reader a format: declared facts, references, and what would hurt Blender. None of them imports Blender."""
