"""Evaluation of a checkpoint: errors on labelled molecules, error bars, and analysis of embeddings."""
