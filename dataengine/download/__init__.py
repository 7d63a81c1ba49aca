"""Bytes onto this machine: over HTTP, out of archives, with the files that a model refers to."""
