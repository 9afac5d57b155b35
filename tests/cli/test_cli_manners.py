"""How commands end when they are told to, and what they print where letters are few or in log files."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import write
from psutil import Error, Process

import helm_ase
from helm_ase.cli import main
from helm_ase.system.terminal import progress_bar

HELM = [sys.executable, "-m", "helm_ase.cli"]


def hear_interrupts():
    """A test that runs in the background of a shell has children that are deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(arguments, sign, seconds=120):
    """A process that has begun what it is to be stopped at: ``sign`` says so."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        HELM + list(map(str, arguments)), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    end = time.monotonic() + seconds
    while not sign(process):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def computes(process):
    """A child computes the first label."""
    children = Process(process.pid).children(recursive=True)
    return any("helm_ase.labelling.worker" in command_line(child) for child in children)


def command_line(process):
    """Its words; none of a process that has just ended."""
    try:
        return process.cmdline()
    except Error:
        return []


def told_here(arguments, sent, sign):
    """Exit code of the command in this process, to which a signal is sent once ``sign`` says so."""
    over = threading.Event()

    def send():
        while not over.wait(0.02):
            if sign():
                os.kill(os.getpid(), sent)
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        return main(list(map(str, arguments)))
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("sent", "code", "word", "here"),
    [
        (signal.SIGTERM, 143, "terminated", True),
        pytest.param(signal.SIGTERM, 143, "terminated", False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, "interrupted", False, marks=pytest.mark.slow),
    ],
)
def test_dynamics_that_are_told_to_end_say_so(tmp_path, capsys, sent, code, word, here):
    write(tmp_path / "water.xyz", molecule("H2O"))
    frames = tmp_path / "md.traj"
    arguments = ["run", tmp_path / "water.xyz", "--md", 100000, "--trajectory", frames, "--no-orbitals"]
    if here:
        found = told_here(arguments, sent, lambda: frames.exists() and frames.stat().st_size > 0)
        printed = capsys.readouterr().err
    else:
        process = started(arguments, lambda _: frames.exists() and frames.stat().st_size > 0)
        process.send_signal(sent)
        printed, found = process.communicate(timeout=60)[1].decode(), process.returncode
    assert found == code
    assert printed.splitlines()[-1].strip() == f"helm-ase: {word}"
    assert "Traceback" not in printed


@pytest.mark.slow  # labelling/test_labelling_campaign.py: an interrupt is one line and keeps what was done
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_label_that_is_told_to_end_says_how_to_go_on(tmp_path, sent, code):
    names = ("C6H6", "CH3CH2OH", "CH3OCH3", "C2H6")
    write(tmp_path / "in.xyz", [molecule(name) for name in names])
    arguments = ["label", tmp_path / "in.xyz", "-o", tmp_path / "x.h5", "--workers", 1, "--quiet"]
    process = started(arguments, computes)
    time.sleep(1)
    process.send_signal(sent)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in printed, printed.decode()
    assert b"the same command goes on" in printed.splitlines()[-1]


def test_output_for_a_terminal_without_our_letters_is_no_error(tmp_path, monkeypatch):
    write(tmp_path / "water.xyz", molecule("H2O"))
    for arguments in (["run", tmp_path / "water.xyz"], ["info"], ["models"], ["run", tmp_path / "½.xyz"]):
        terminal = TextIOWrapper(BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(list(map(str, arguments))) == (arguments[-1] == tmp_path / "½.xyz")
        terminal.flush()
        assert terminal.buffer.getvalue()


def test_the_module_is_a_program_in_a_terminal_without_our_letters_too(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run([*HELM, "data", "info", tmp_path / "½.h5"], env=environment, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.decode("ascii").startswith("helm-ase: ")


def test_a_nul_in_an_argument_is_refused_in_words(capsys):
    assert main(["run", "a\0b.xyz"]) == 1
    assert "NUL" in capsys.readouterr().err


def test_a_sample_that_keeps_nothing_fails_and_leaves_an_older_file_alone(tmp_path, capsys):
    out = tmp_path / "out.xyz"
    out.write_text("old")
    arguments = ["sample", "--smiles", "CC", "--relax-steps", 1, "--fmax", 1e-9, "--processes", 1, "--quiet"]
    assert main([str(a) for a in [*arguments, "--force", "-o", out]]) == 1
    printed = capsys.readouterr()
    assert "every structure was dropped" in printed.err
    assert "reason" in printed.out
    assert out.read_text() == "old"


def test_in_a_log_file_a_progress_bar_is_a_line_a_minute(monkeypatch):
    log = StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar(total=30, desc="molecules") as bar:
        for k in range(30):
            time.sleep(0.01)  # tqdm would draw three times
            bar.set_postfix(failed=k, refresh=False)
            bar.update()
        with progress_bar(total=1, desc="inner", leave=False) as inner:
            inner.update()
    lines = log.getvalue().splitlines()
    assert len([line for line in lines if line.startswith("molecules")]) <= 2
    assert "molecules: 100%" in lines[-1]
    assert not {"\r", "\x1b"} & set(log.getvalue())
    assert not list(progress_bar([], disable=True))
    assert log.getvalue().splitlines() == lines


def test_without_standard_error_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress_bar([1, 2])) == [1, 2]


def test_bars_of_commands_are_redrawn_by_time_alone():
    """What is written beside a bar would otherwise draw it anew each time."""
    package = Path(helm_ase.__file__).parent
    calls = [c for p in package.rglob("*.py") for c in re.findall(r"set_postfix\(.*", p.read_text("utf8"))]
    assert calls
    assert all("refresh=False" in c for c in calls)
    assert not [p for p in package.rglob("*.py") if re.search(r"\btqdm\(", p.read_text("utf8"))
                and p.name != "terminal.py"]  # fmt: skip
