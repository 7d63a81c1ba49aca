"""The model: its configuration, its transformer blocks, the embedding and the head of codes, and the whole."""
