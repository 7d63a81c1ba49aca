"""The program that runs inside the Blender process. Imports nothing of dataengine but this folder."""
