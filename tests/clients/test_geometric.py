"""geomeTRIC's command line with HELM as its ASE engine."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write

from helm_ase import HELMCalculator

pytestmark = [pytest.mark.client, pytest.mark.slow]
pytest.importorskip("geometric")

PROGRAM = "import sys; from geometric.optimize import main; sys.exit(main())"


def test_geometric_optimises_water_through_its_ase_engine(tmp_path):
    start = molecule("H2O")
    start.rattle(0.05, seed=1)
    write(tmp_path / "water.xyz", start, plain=True)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "water.xyz", "--engine", "ase",
         "--ase-class", "helm_ase.HELMCalculator", "--ase-kwargs", '{"dtype": "float64"}', "--maxiter", "60"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Converged!" in done.stdout + done.stderr
    final = read(tmp_path / "water_optim.xyz", -1)
    final.calc = HELMCalculator()
    assert np.linalg.norm(final.get_forces(), axis=1).max() < 0.05
    start.calc = HELMCalculator()
    assert final.get_potential_energy() < start.get_potential_energy()
