"""Clinical statistics: the participant table, associations, response to treatment, and ROC curves.

Every p comes with its test, n and effect size. Plain tables in, frozen results and tables out; no file is read here.
"""

from rsfc_gpu.clinical.association import Association, associate, association_table, benjamini_hochberg, p_from_r
from rsfc_gpu.clinical.cross_validation import (
    CrossValidated,
    Fold,
    HeldOutScores,
    cross_validated_auc,
    cross_validated_correlation,
    held_out_scores,
    stratified_folds,
)
from rsfc_gpu.clinical.demographics import Column, TableOne, table_one
from rsfc_gpu.clinical.printed import PrintedCount, PrintedMean, PrintedRow, compare_printed
from rsfc_gpu.clinical.response import PairedTest, is_responder, paired_by_group, paired_t, reduction_rate
from rsfc_gpu.clinical.roc import Roc, RocComparison, compare_rocs, roc
from rsfc_gpu.clinical.rows import CategoricalRow, ContinuousRow
from rsfc_gpu.clinical.text import p_text, p_value_text
from rsfc_gpu.clinical.two_groups import GroupTest, p_from_t

__all__ = [
    "Association",
    "CategoricalRow",
    "Column",
    "ContinuousRow",
    "CrossValidated",
    "Fold",
    "GroupTest",
    "HeldOutScores",
    "PairedTest",
    "PrintedCount",
    "PrintedMean",
    "PrintedRow",
    "Roc",
    "RocComparison",
    "TableOne",
    "associate",
    "association_table",
    "benjamini_hochberg",
    "compare_printed",
    "compare_rocs",
    "cross_validated_auc",
    "cross_validated_correlation",
    "held_out_scores",
    "is_responder",
    "p_from_r",
    "p_from_t",
    "p_text",
    "p_value_text",
    "paired_by_group",
    "paired_t",
    "reduction_rate",
    "roc",
    "stratified_folds",
    "table_one",
]
