"""Token shards as batches: an index over the manifest, mapped shards, a permutation, a resumable stream."""
