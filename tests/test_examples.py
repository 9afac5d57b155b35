"""Every example runs from start to end."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
STARTS_PROCESSES = "06_label_molecules.py"
SCRIPTS = sorted(p for p in FOLDER.glob("*.py") if p.name != STARTS_PROCESSES)


def options(script):
    return ["--quick"] if "--quick" in script.read_text() else []


def test_there_are_examples():
    assert SCRIPTS
    assert (FOLDER / STARTS_PROCESSES).exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=[s.name for s in SCRIPTS])
def test_example_runs(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", [str(script), *options(script)])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.slow
def test_the_example_that_starts_processes_runs(tmp_path):
    script = FOLDER / STARTS_PROCESSES
    path = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), *options(script)], cwd=tmp_path, capture_output=True, text=True,
        timeout=500, env=os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
