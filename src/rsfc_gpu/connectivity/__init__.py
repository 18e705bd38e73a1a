"""Seeds and their correlation maps."""

from rsfc_gpu.connectivity.maps import SeedMaps, SeedNotCovered, correlate_seeds
from rsfc_gpu.connectivity.seeds import Seeds

__all__ = ["SeedMaps", "SeedNotCovered", "Seeds", "correlate_seeds"]
