"""The pipeline: plan, fetch, render, tokenize; each takes shards, and a killed run goes on where it was."""
