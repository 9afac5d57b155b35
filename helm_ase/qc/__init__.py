"""The only place that imports PySCF: integrals, baselines, reference calculations."""

from helm_ase.qc.level import Baseline, LevelOfTheory

__all__ = ["Baseline", "LevelOfTheory"]
