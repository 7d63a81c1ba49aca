"""Corpora as other trainers read them: folders of pictures and cameras, in each reader's own conventions."""
