"""From files to batches: readers, data sets, the store."""
