"""The report of a study: figures, tables, methods text and one page, all from the files of the output folder."""
