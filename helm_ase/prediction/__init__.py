"""From ``Atoms`` to results: checks of what a model supports, predictions, and SCF steps that refine them."""
