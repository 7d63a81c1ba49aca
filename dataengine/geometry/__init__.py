"""Cameras, rays and depth: the conventions of cameras.json, for numpy (`arrays`) and for torch (`tensors`).

    world         right-handed, z up
    c2w           4×4, camera to world; camera axes as in OpenCV: x right, y down, z forward
    K             3×3, pixels; the first pixel's centre is at (0.5, 0.5).
                  perspective: u = fx · x/z + cx; orthographic: u = fx · x + cx, fx pixels per world unit
    depth         planar z: the distance from the camera's plane, not along the ray; world units, 0 = none

Nothing here knows of files, and nothing of dataengine is imported.
"""
