"""Training samples made of labelled molecules and crystals."""
