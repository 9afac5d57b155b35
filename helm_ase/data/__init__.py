"""Labelled molecules: reading them, and preparing them for training."""
