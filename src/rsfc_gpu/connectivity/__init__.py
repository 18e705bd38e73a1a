"""Seeds and their correlation maps."""

from rsfc_gpu.connectivity.maps import SeedMaps, correlate_seeds
from rsfc_gpu.connectivity.seeds import Seeds

__all__ = ["SeedMaps", "Seeds", "correlate_seeds"]
