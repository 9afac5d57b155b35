"""Seeds that are derived from what is drawn, so that results do not depend on order or processes."""

import hashlib

import numpy as np


def derive_seed(seed: int, *parts: object) -> int:
    """Seed of one draw, 0 ≤ value < 2⁶³, from the seed of the campaign and whatever identifies the draw."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int) -> np.random.Generator:
    """The random numbers of one draw."""
    return np.random.default_rng(seed)
