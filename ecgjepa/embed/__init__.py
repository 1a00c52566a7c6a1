"""Any ECG in, embedding out: files, folders and tables -> one table of embeddings; and the same as an estimator."""
