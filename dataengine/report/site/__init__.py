"""The browsable report of a corpus: static pages that open from disk, and the same pages served live."""
