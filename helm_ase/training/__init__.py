"""Training: losses, the loop, evaluation, export.

Using a model needs none of it.
"""
