"""The report of a study: figures, tables, methods text and one page, all from the files of the output folder."""

from rsfc_gpu.report.tables import read_tsv, write_tsv
from rsfc_gpu.report.write import write_report

__all__ = ["read_tsv", "write_report", "write_tsv"]
