"""Fine-tuning: an encoder and labels -> a classifier on disk, with its predictions and scores."""
