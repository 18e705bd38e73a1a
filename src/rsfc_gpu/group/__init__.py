"""Group statistics as SPM12 computes them: designs, fits, contrasts, and inference on clusters and peaks."""

from rsfc_gpu.group.cluster_tables import cluster_labels, cluster_regions, clusters, peaks
from rsfc_gpu.group.design import AbsorbedCovariateWarning, Design
from rsfc_gpu.group.fdr import benjamini_hochberg
from rsfc_gpu.group.glm import Fit, fit, fit_many
from rsfc_gpu.group.models import flexible_factorial, one_sample, paired, regression, two_sample
from rsfc_gpu.group.randomfield import RandomField
from rsfc_gpu.group.stat import Smoothness, Stat
from rsfc_gpu.group.table import ResultsTable, results_table
from rsfc_gpu.group.tails import equivalent_z
from rsfc_gpu.group.topology import height_threshold

__all__ = [
    "AbsorbedCovariateWarning",
    "Design",
    "Fit",
    "RandomField",
    "ResultsTable",
    "Smoothness",
    "Stat",
    "benjamini_hochberg",
    "cluster_labels",
    "cluster_regions",
    "clusters",
    "equivalent_z",
    "fit",
    "fit_many",
    "flexible_factorial",
    "height_threshold",
    "one_sample",
    "paired",
    "peaks",
    "regression",
    "results_table",
    "two_sample",
]
