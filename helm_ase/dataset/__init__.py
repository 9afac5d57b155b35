"""Training samples: what training makes of labelled molecules."""
