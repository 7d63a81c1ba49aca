"""From four views to 3D Gaussians in one pass of a network (LGM, Tang et al. 2024, scaled down), and its training.

`network`, `loss`, `corrupt`, `fit_step` and `packed` need torch and numpy alone, so that a machine with nothing else
can train on views that were packed elsewhere.
"""
