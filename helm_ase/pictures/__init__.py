"""Pictures of orbital energies, densities of states, molecules and orbitals, and an HTML report of all."""
