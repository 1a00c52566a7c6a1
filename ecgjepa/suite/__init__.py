"""One or several encoders on all tasks of some data sets: cells, tables, one page."""
