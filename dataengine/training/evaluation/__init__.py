"""A run on held-out objects: metrics beside baselines and ceiling, and contact sheets."""
