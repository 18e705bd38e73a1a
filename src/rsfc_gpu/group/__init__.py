"""Group statistics as SPM12 computes them: designs, fits, contrasts, and inference on clusters and peaks."""

from rsfc_gpu.group.cluster_tables import cluster_labels, cluster_regions, clusters, peaks
from rsfc_gpu.group.fdr import benjamini_hochberg
from rsfc_gpu.group.randomfield import RandomField
from rsfc_gpu.group.table import ResultsTable, results_table
from rsfc_gpu.group.tails import equivalent_z
from rsfc_gpu.group.topology import height_threshold

__all__ = [
    "RandomField",
    "ResultsTable",
    "benjamini_hochberg",
    "cluster_labels",
    "cluster_regions",
    "clusters",
    "equivalent_z",
    "height_threshold",
    "peaks",
    "results_table",
]
