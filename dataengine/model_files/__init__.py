"""A 3D file without Blender: what it declares, what it refers to, and whether it can be refused early."""
