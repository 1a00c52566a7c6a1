"""Pretraining: masks, the loop, the run folder."""
