"""Which files: the runs of a dataset, and the tables that come with them."""

from rsfc_gpu.bids.index import Dataset, RunFiles, find_runs, sidecar
from rsfc_gpu.bids.tables import read_participants, read_strict, read_visits

__all__ = ["Dataset", "RunFiles", "find_runs", "read_participants", "read_strict", "read_visits", "sidecar"]
