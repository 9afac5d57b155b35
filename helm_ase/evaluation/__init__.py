"""Errors of a checkpoint against labels, what they are made of, and what its embeddings tell apart."""
