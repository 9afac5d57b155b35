"""i-PI moves the atoms, HELM answers through ASE's socket client."""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.socketio import SocketClient
from ase.io import write
from ase.optimize import BFGS

from helm_ase import HELMCalculator

pytestmark = [pytest.mark.client, pytest.mark.timeout(120)]
pytest.importorskip("ipi")

INPUT = """<simulation verbosity='low'>
  <output prefix='run'>
    <properties stride='1' filename='out'>
      [ step, time{{picosecond}}, conserved{{electronvolt}}, potential{{electronvolt}} ]
    </properties>
  </output>
  <total_steps>5</total_steps>
  <prng><seed>31415</seed></prng>
  <ffsocket name='helm' mode='unix' pbc='false'>
    <address>{address}</address> <timeout>60</timeout>
  </ffsocket>
  <system>
    <initialize nbeads='1'>
      <file mode='xyz' units='angstrom'> init.xyz </file>
      <cell mode='abc' units='angstrom'> [ 50, 50, 50 ] </cell>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='helm'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'>0.5</timestep></dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
"""


def program():
    beside = Path(sys.executable).with_name("i-pi")
    if not beside.exists():
        pytest.skip("the program i-pi is not installed beside this Python")
    return [sys.executable, str(beside)]


def wait_for(socket, process, seconds=60):
    end = time.monotonic() + seconds
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail("i-PI did not open its socket")
        time.sleep(0.1)


def test_five_steps_at_constant_energy_driven_by_ipi(tmp_path):
    water = molecule("H2O")
    water.calc = HELMCalculator()
    BFGS(water, logfile=None).run(fmax=0.05, steps=50)
    start = water.get_potential_energy()
    write(tmp_path / "init.xyz", water, format="xyz")
    address = f"helm{uuid.uuid4().hex[:12]}"
    (tmp_path / "input.xml").write_text(INPUT.format(address=address))
    socket = Path("/tmp") / f"ipi_{address}"
    with (tmp_path / "log").open("w") as log:
        command = [*program(), "input.xml"]
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(socket, server)
            SocketClient(unixsocket=address, timeout=60).run(water)
            server.wait(timeout=30)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
            socket.unlink(missing_ok=True)
    assert server.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    steps, _, conserved, potential = np.loadtxt(tmp_path / "run.out").T
    assert steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert potential[0] == pytest.approx(start, abs=1e-3)
    assert np.ptp(potential) > 1e-5
    assert np.ptp(conserved) < 3e-3 * len(water)
