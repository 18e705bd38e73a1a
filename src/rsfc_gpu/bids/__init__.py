"""Which files: the runs of a dataset, and the tables that come with them."""

from rsfc_gpu.bids.index import Dataset, RunFiles, find_runs
from rsfc_gpu.bids.metadata import sidecar, slice_timing
from rsfc_gpu.bids.tables import read_participants, read_strict, read_visits

__all__ = [
    "Dataset",
    "RunFiles",
    "find_runs",
    "read_participants",
    "read_strict",
    "read_visits",
    "sidecar",
    "slice_timing",
]
