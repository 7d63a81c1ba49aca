"""What is on disk: a file per section of docs/formats.md."""
