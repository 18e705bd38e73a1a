"""The CPU's voxel loops, compiled by Numba, cached on disk. Twins of the CUDA entry points have the same name and order."""
