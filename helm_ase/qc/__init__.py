"""Everything that uses PySCF: integrals, baselines and reference calculations."""

from helm_ase.qc.level import Baseline, LevelOfTheory

__all__ = ["Baseline", "LevelOfTheory"]
