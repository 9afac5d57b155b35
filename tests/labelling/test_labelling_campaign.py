"""Labelling campaigns: what they give, and what survives of them."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from helm_ase.cli import main
from helm_ase.errors import (
    ChargeError,
    CheckpointError,
    DatasetError,
    HelmError,
    SettingError,
    StructureError,
)
from helm_ase.labelling import CampaignSettings, campaign, read_structures, run_campaign
from helm_ase.labelling.cluster import ClusterSettings
from helm_ase.labelling.sandbox import Limits, Outcome, Sandbox, Warden
from helm_ase.labelling.stores import store_of
from helm_ase.labels.formats import open_labels
from helm_ase.labels.record_log import RecordLog
from helm_ase.labels.writer import LabelWriter
from helm_ase.qc.labelling import LabelSettings, label_structure
from helm_ase.representation.structure import Structure
from shared.sample_labels import TINY

pytestmark = pytest.mark.scf
pytest.importorskip("distributed")
LEVEL = ["--xc", "pbe", "--basis", "sto-3g", "--grid", "0", "--quiet"]


def frames(count=6, seed=3):
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        atoms = molecule(("H2O", "HF", "NH3")[k % 3])
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        atoms.info |= {"name": f"m{k}", "smiles": ("O", "F", "N")[k % 3], "temperature_K": 300.0}
        found.append(atoms)
    return found


def structures(count=6):
    return [
        Structure(a.info["name"], a.numbers.astype(np.int64), a.positions, smiles=a.info["smiles"])
        for a in frames(count)
    ]


def settings(path, **more):
    return CampaignSettings(str(path), LabelSettings(TINY), progress=False, **more)


def assert_complete(path, wanted):
    with open_labels(path) as labels:
        assert sorted(label.key for label in labels) == sorted(s.key for s in wanted)
    leftovers = {p.name for p in path.parent.iterdir()} - {path.name}
    assert not [name for name in leftovers if name.startswith(path.name)], leftovers


# --- interruptions ------------------------------------------------------------------------------------

INJECTED = {"append": RecordLog, "clear": RecordLog, "add": LabelWriter, "__exit__": LabelWriter}


def die_at(path, wanted, moment, after):
    """Run a campaign that is killed before or after its ``moment``-th step on the disk."""
    steps = 0

    def deadly(function):
        def step(*args, **keywords):
            nonlocal steps
            steps += 1
            deadly_one = steps == moment  # a step may contain others
            if deadly_one and not after:
                os._exit(9)
            result = function(*args, **keywords)
            if deadly_one:
                os._exit(9)
            return result

        return step

    for name, owner in INJECTED.items():
        setattr(owner, name, deadly(getattr(owner, name)))
    run_campaign(wanted, settings(path))


@pytest.fixture
def instant_labels(monkeypatch):
    """Labels come at once, so that only what happens on the disk takes part."""
    ready = {s.key: label_structure(s, LabelSettings(TINY)) for s in structures(4)}

    def outcomes(tasks, *terms):
        for task in tasks:
            yield Outcome(task.key, task.name, 0.0, ready[task.key])

    monkeypatch.setattr(campaign, "distribute", outcomes)


@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_campaign_killed_at_every_step_in_turn_loses_and_doubles_nothing(instant_labels, tmp_path, after):
    context = multiprocessing.get_context("fork")
    wanted = structures(4)
    deaths = 0
    for moment in range(1, 40):
        path = tmp_path / f"{moment}.h5"
        child = context.Process(target=die_at, args=(path, wanted, moment, after))
        child.start()
        child.join()
        deaths += child.exitcode == 9
        labelled = run_campaign(wanted, settings(path))
        assert labelled.labelled + labelled.present == 4
        assert_complete(path, wanted)
        if child.exitcode == 0:
            break
    assert deaths >= 10


def start(xyz, out):
    command = [
        sys.executable,
        "-m",
        "helm_ase.cli",
        "label",
        str(xyz),
        "-o",
        str(out),
        *LEVEL,
        "--workers",
        "1",
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=hear_interrupts
    )


def hear_interrupts():
    """Shells start background jobs deaf to Ctrl-C, and what these start inherits it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
def test_labelling_killed_twice_at_random_loses_nothing(tmp_path):
    xyz, out = tmp_path / "in.xyz", tmp_path / "out.h5"
    ase.io.write(xyz, frames(24))
    journal = tmp_path / "out.h5.journal"
    rng = np.random.default_rng()  # another moment in every run of the test
    present = 0
    for _ in range(2):
        process = start(xyz, out)
        target = present + int(rng.integers(1, 6)) * 3000
        while process.poll() is None and (not journal.exists() or journal.stat().st_size < target):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        present = journal.stat().st_size if journal.exists() else 0
        assert present > 0
    process = start(xyz, out)
    assert process.wait() == 0, process.stdout.read()
    wanted = read_structures([xyz])
    assert_complete(out, wanted)
    plain = label_structure(wanted[-1], LabelSettings(replace(TINY, variant="")))
    with open_labels(out) as labels:
        (same,) = [label for label in labels if label.key == wanted[-1].key]
    np.testing.assert_allclose(same.hamiltonian, plain.hamiltonian, atol=1e-7)


def test_the_worker_process_dies_with_its_parent(tmp_path):
    code = (
        "import os, sys; from helm_ase.labelling.sandbox import *\n"
        "s = Sandbox(Limits()); c = s._start(); print(c.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and os.path.exists(f"/proc/{pid}"):
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.2)
    else:
        assert not os.path.exists(f"/proc/{pid}")


# --- the real thing -----------------------------------------------------------------------------------


def test_the_command_labels_and_says_what_it_did(tmp_path, capsys):
    xyz, out = tmp_path / "in.xyz", tmp_path / "out.h5"
    given = frames(3)
    radical = molecule("CH3")
    radical.set_initial_magnetic_moments(None)
    radical.info |= {"name": "methyl", "multiplicity": 2}
    copy = given[0].copy()
    copy.info["name"] = "copy"
    ase.io.write(xyz, [*given, radical, copy])
    assert (
        main(["label", str(xyz), "-o", str(out), *LEVEL, "--workers", "2", "--density", "--polarizability"])
        == 0
    )
    said = capsys.readouterr().out
    assert "4 new labels" in said
    assert "1 of the structures given" in said
    with open_labels(out) as labels:
        assert len(labels) == 4
        found = {label.name: label for label in labels}
    assert found["m0"].smiles == "O"
    assert found["m0"].details["temperature_K"] == 300.0
    assert found["methyl"].hamiltonian.shape == (2, 8, 8) == found["methyl"].density.shape
    assert found["methyl"].occupations.sum() == 9
    assert found["m1"].polarizability is not None
    assert found["m1"].forces is not None
    assert main(["label", str(xyz), "-o", str(out), *LEVEL]) == 0  # nothing left to do: no cluster is started
    assert "0 new labels, 4 were there already" in capsys.readouterr().out


def test_failures_are_listed_skipped_and_tried_again_when_asked(tmp_path):
    path = tmp_path / "out.h5"
    wanted = structures(2)
    impossible = settings(path, cluster=ClusterSettings(workers=1))
    impossible = replace(impossible, label=replace(impossible.label, max_cycles=1))
    result = run_campaign(wanted, impossible)
    assert result.labelled == 0
    assert len(result.failures) == 2
    assert not path.exists()
    assert "SCFError: not converged" in result.failures[0].reason
    listed = [json.loads(x) for x in (tmp_path / "out.h5.failures.jsonl").read_text().splitlines()]
    assert {x["name"] for x in listed} == {"m0", "m1"}
    assert run_campaign(wanted, impossible).labelled == 0  # known: no worker is even started
    again = run_campaign(wanted[:1], replace(impossible, retry_failed=True))
    assert again.failures[0].seconds > 0
    result = run_campaign(wanted, settings(path, cluster=ClusterSettings(workers=1)))  # other settings
    assert result.labelled == 2
    assert result.failures == ()
    assert_complete(path, wanted)


@pytest.mark.slow
def test_campaigns_that_share_a_scheduler_do_not_share_results(tmp_path):
    from distributed import LocalCluster

    wanted = structures(3)
    levels = {name: replace(TINY, functional=name) for name in ("pbe", "blyp")}
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster:
        where = ClusterSettings(scheduler=cluster.scheduler_address)
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(run_campaign, wanted, CampaignSettings(
                    str(tmp_path / f"{name}.h5"), LabelSettings(level), cluster=where, progress=False
                ))
                for name, level in levels.items()
            ]  # fmt: skip
            assert [run.result().labelled for run in runs] == [3, 3]
    for name, level in levels.items():
        with open_labels(tmp_path / f"{name}.h5") as labels:
            for label in labels:
                (structure,) = [s for s in wanted if s.key == label.key]
                assert label.energy == pytest.approx(label_structure(structure, LabelSettings(level)).energy)


@pytest.mark.slow
def test_a_lost_scheduler_is_an_error_and_no_failure_of_a_molecule(tmp_path):
    path, file = tmp_path / "out.h5", tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    where = ["--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*dask, "scheduler", "--port", "0", "--dashboard-address", ":0", *where])
    worker = subprocess.Popen([*dask, "worker", *where, "--nthreads", "1", "--no-dashboard"])
    journal = tmp_path / "out.h5.journal"

    def kill_when_at_work():
        while not journal.exists() or journal.stat().st_size < 3000:
            time.sleep(0.02)
        scheduler.kill()

    while not file.exists():
        time.sleep(0.1)
    threading.Thread(target=kill_when_at_work, daemon=True).start()
    try:
        with pytest.raises(HelmError, match="run the same command again"):
            run_campaign(structures(400), settings(path, cluster=ClusterSettings(scheduler=str(file))))
    finally:
        worker.kill()
        scheduler.kill()
    assert journal.exists()
    assert not (tmp_path / "out.h5.failures.jsonl").exists()


@pytest.mark.slow
def test_a_batch_system_starts_the_workers(tmp_path, monkeypatch):
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)
    with dask.config.set({"jobqueue.local.cores": 1, "jobqueue.local.memory": "2GB"}):
        where = ClusterSettings(batch_system="local", jobs=1)
        assert run_campaign(structures(2), settings(tmp_path / "out.h5", cluster=where)).labelled == 2


def test_the_prediction_of_a_model_is_the_second_guess(tmp_path):
    from helm_ase.labelling.guess import density_guess
    from helm_ase.qc import LevelOfTheory
    from helm_ase.qc.convergence import converge
    from helm_ase.qc.molecule import build_mole

    level = LevelOfTheory()
    water = molecule("H2O")
    structure = Structure("w", water.numbers.astype(np.int64), water.positions)
    guess = density_guess(structure, level, "helm-hcnof-2")
    mole = build_mole(structure.numbers, structure.positions, level.basis)
    assert float(np.einsum("ij,ji", guess(mole), mole.intor("int1e_ovlp"))) == pytest.approx(10, abs=1e-6)
    found = converge(mole, level, guess=guess, routes=["model"])
    assert found.route == "model"
    assert found.cycles <= converge(mole, level).cycles
    assert density_guess(structure, TINY, "helm-hcnof-2")(mole) is None  # another basis


# --- limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [(Limits(seconds=0.05), "time limit of 0.05 s"), (Limits(memory=1e6), "memory limit of 0.001 GB")],
)
def test_a_molecule_over_its_limit_is_killed_and_the_next_one_is_labelled(limits, reason):
    sandbox = Sandbox(limits)
    outcome = sandbox.label(structures(1)[0], LabelSettings(TINY), None)
    assert outcome.label is None
    assert reason in outcome.reason
    sandbox.limits = Limits()
    assert sandbox.label(structures(1)[0], LabelSettings(TINY), None).label is not None
    sandbox.close()


def test_a_worker_process_that_dies_is_a_failure_of_one_molecule(monkeypatch):
    sandbox = Sandbox(Limits())
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    outcome = sandbox.label(structures(1)[0], LabelSettings(TINY), None)
    assert "the worker process died (exit code 1)" in outcome.reason
    assert not outcome.lost


def test_a_worker_process_that_dies_once_is_no_failure():
    sandbox = Sandbox(Limits())
    threading.Timer(0.3, sandbox._start().kill).start()  # before it has imported PySCF
    assert sandbox.label(structures(1)[0], LabelSettings(TINY), None).label is not None
    sandbox.close()


@pytest.mark.parametrize("atoms", [3, 3000])
def test_a_child_that_never_reads_is_killed_in_time(monkeypatch, tmp_path, atoms):
    monkeypatch.setattr("helm_ase.labelling.sandbox.STALL", 1.0)
    monkeypatch.setattr("helm_ase.labelling.sandbox.STALLED", 2.0)
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\nexec sleep 60\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    positions = np.arange(3.0 * atoms).reshape(-1, 3)
    begin = time.monotonic()
    outcome = Sandbox(Limits(seconds=0.5)).label(
        Structure("big", np.ones(atoms, dtype=np.int64), positions), LabelSettings(TINY), None
    )
    assert outcome.reason == "no result in 2 times the time limit of 0.5 s"
    assert time.monotonic() - begin < 10


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox = Sandbox(Limits(seconds=2.0))
    level = replace(TINY, basis="def2-qzvpp", grid_level=9, density_fitting=False)
    ammonia = structures(3)[2]
    assert sandbox.label(ammonia, LabelSettings(level, polarizability=True), None).label is None
    sandbox.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"memory": -1}, {"threads": 0}])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(SettingError, match="must be positive"):
        Limits(**limits)


# --- what is refused ----------------------------------------------------------------------------------


def test_another_level_into_the_same_file_is_refused(tmp_path):
    path = tmp_path / "out.h5"
    with LabelWriter(path, TINY) as writer:
        writer.add(label_structure(structures(1)[0], LabelSettings(TINY)))
    other = LabelSettings(replace(TINY, functional="pbe0"))
    with pytest.raises(DatasetError, match="use another output"):
        run_campaign(structures(2), replace(settings(path), label=other))


def test_two_structures_of_one_name_are_refused_before_any_work(tmp_path):
    first, second = structures(2)
    with pytest.raises(StructureError, match="two different structures are named 'm0'"):
        run_campaign([first, replace(second, name="m0")], settings(tmp_path / "out.h5"))


def test_an_unknown_model_is_refused_before_any_work(tmp_path):
    with pytest.raises(CheckpointError, match="no-such-model"):
        run_campaign(structures(1), settings(tmp_path / "out.h5", model="no-such-model"))


def test_a_refusal_leaves_nothing_behind(tmp_path, capsys):
    path, xyz = tmp_path / "out.h5", tmp_path / "in.xyz"
    ase.io.write(xyz, frames(1))
    with LabelWriter(path, TINY) as writer:
        writer.add(label_structure(structures(1)[0], LabelSettings(TINY)))
    for wrong in (
        ["--basis", "def2-svp"],
        ["--conv-tol", "1e-8"],
        ["--xc", "wb97x-d"],
        ["--model", "nobody"],
    ):
        assert main(["label", str(xyz), "-o", str(path), *LEVEL, *wrong]) == 1
    assert main(["label", str(xyz), "-o", str(tmp_path / "labels.txt"), *LEVEL]) == 1
    assert "end the name in .h5" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.xyz", "out.h5"]


def test_an_interrupt_is_one_line_and_keeps_what_was_done(tmp_path):
    xyz, out = tmp_path / "in.xyz", tmp_path / "out.h5"
    ase.io.write(xyz, frames(60))
    process = start(xyz, out)
    journal = tmp_path / "out.h5.journal"
    while process.poll() is None and (not journal.exists() or journal.stat().st_size < 5000):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert said.endswith("helm-ase: interrupted - all finished labels are kept: the same command goes on\n")
    assert "Traceback" not in said
    assert journal.exists()


def test_a_name_of_another_structure_in_the_file_is_refused_before_any_work(tmp_path):
    path = tmp_path / "out.h5"
    first, second = structures(2)
    with LabelWriter(path, TINY) as writer:
        writer.add(label_structure(first, LabelSettings(TINY)))
    with pytest.raises(StructureError, match="another structure named 'm0'"):
        run_campaign([replace(second, name="m0")], settings(path))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pbc": True}, StructureError, "periodic"),
        ({"info": {"name": "m1"}}, StructureError, "both named 'm1'"),
        ({"info": {"charge": 0.5}}, ChargeError, "must be an integer"),
        ({"positions": [[0.0, 0.0, 0.0]] * 3}, StructureError, "apart"),
    ],
)
def test_bad_structures_are_named_with_file_and_frame(tmp_path, change, error, message):
    bad, good = frames(2)
    for key, value in change.items():
        if key == "info":
            bad.info |= value
        else:
            setattr(bad, key, value)
    path = tmp_path / "in.xyz"
    ase.io.write(path, [bad, good])
    with pytest.raises(error, match=message) as caught:
        read_structures([path])
    assert "in.xyz, frame" in str(caught.value)


def test_hydrogen_fluoride_is_not_read_as_false(tmp_path):
    path = tmp_path / "in.xyz"
    atoms = molecule("HF")
    atoms.info |= {"smiles": "F", "name": "F"}
    ase.io.write(path, atoms)
    assert ase.io.read(path).info["smiles"] is False  # what ASE makes of it
    (structure,) = read_structures([path])
    assert (structure.smiles, structure.name) == ("F", "F")


@pytest.mark.parametrize("content", ["", "3\n\nX 0 0 0\n", "nonsense"])
def test_files_without_structures_are_refused(tmp_path, content):
    path = tmp_path / "in.xyz"
    path.write_text(content)
    with pytest.raises(StructureError, match=r"in\.xyz"):
        read_structures([path])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--xc", "b3lypp"], "does not know the functional"),
        (["--basis", "def3"], "PySCF has no basis 'def3'"),
        (["--conv-tol", "1"], "out of range"),
        (["--batch-system", "cloud"], "unknown batch system"),
        (["--scheduler", "tcp://127.0.0.1:1", "--batch-system", "slurm"], "exclude each other"),
    ],
)
def test_the_command_refuses_what_cannot_be(tmp_path, capsys, arguments, message):
    xyz = tmp_path / "in.xyz"
    ase.io.write(xyz, frames(1))
    assert main(["label", str(xyz), "-o", str(tmp_path / "out.h5"), "--quiet", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()


# --- order, and an early end ----------------------------------------------------------------------------


def test_structures_are_labelled_in_the_order_asked_for():
    tasks = structures(6)
    electrons = {
        order: [int(s.numbers.sum()) for s in campaign.in_order(tasks, order)]
        for order in ("largest", "smallest", "file", "random")
    }
    assert electrons["largest"] == sorted(electrons["file"], reverse=True)
    assert electrons["smallest"] == sorted(electrons["file"])
    assert electrons["file"] == [int(s.numbers.sum()) for s in tasks]
    assert sorted(electrons["random"]) == electrons["smallest"]
    again = [s.name for s in campaign.in_order(tasks, "random")]
    assert again == [s.name for s in campaign.in_order(tasks, "random")] != [s.name for s in tasks]


def test_finish_moves_what_is_done_into_the_file_and_labels_nothing(tmp_path, capsys):
    output = tmp_path / "labels.h5"
    settings = CampaignSettings(str(output), LabelSettings(TINY), progress=False)
    done = [label_structure(s, settings.label) for s in structures(2)]
    with campaign.Journal(tmp_path / "labels.h5.journal", TINY) as journal:
        for label in done:
            journal.add(label)
    assert campaign.finish_campaign(settings).labelled == 2
    assert not (tmp_path / "labels.h5.journal").exists()
    with open_labels(output) as source:
        assert [source[k].name for k in range(2)] == ["m0", "m1"]
    assert campaign.finish_campaign(settings).labelled == 0
    ase.io.write(tmp_path / "frames.xyz", frames(2))
    command = ["label", str(tmp_path / "frames.xyz"), "-o", str(tmp_path / "none.h5"), "--finish", *LEVEL]
    assert main(command) == 0
    assert "0 new labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "verdict"),
    [("import time; time.sleep(2)", ""), ("while True: pass", "time limit of 0.5 s exceeded")],
)
def test_the_time_limit_counts_processor_time(code, verdict):
    """On a node that others share a molecule may take long and is not at fault."""
    child = subprocess.Popen([sys.executable, "-c", code])
    with Warden(child, Limits(seconds=0.5)) as warden:
        child.wait(60)
    assert warden.verdict == verdict


def test_only_what_labels_lack_is_said_to_be_lacking(tmp_path):
    label = label_structure(structures(1)[0], LabelSettings(TINY, forces=True))
    with LabelWriter(tmp_path / "x.h5", TINY) as file:
        file.add(label)
    asked = LabelSettings(TINY, forces=True, density=True, polarizability=True)
    assert store_of(asked).lacking(tmp_path / "x.h5", {label.key}) == ("density", "polarizability")
    assert store_of(LabelSettings(TINY)).lacking(tmp_path / "x.h5", {label.key}) == ()
    assert store_of(asked).lacking(tmp_path / "x.h5", set()) == ()
