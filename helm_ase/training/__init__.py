"""Training: losses, the loop, evaluation, export.  Nothing here is needed to use a model."""
