"""Levels, densities of states, molecules and orbitals as pictures, and all together as a page."""
