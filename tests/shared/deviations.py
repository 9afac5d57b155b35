"""How far two arrays are apart."""

import numpy as np


def largest(x):
    return float(np.abs(np.asarray(x)).max())


def relative(x, reference):
    """Largest deviation in units of the largest element."""
    return largest(np.asarray(x) - reference) / largest(reference)
