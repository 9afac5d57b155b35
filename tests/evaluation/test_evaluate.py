"""``helm-ase evaluate``, and what it computes."""

import csv
import json
import warnings
from dataclasses import fields, replace

import matplotlib
import numpy as np
import pytest

import helm_ase.evaluation.assessment as assessment_module
from helm_ase.checkpoint import save_checkpoint
from helm_ase.checkpoint.format import file_sha256
from helm_ase.cli import main
from helm_ase.errors import PredictionError, SettingError
from helm_ase.evaluation.assessment import AssessmentSettings, assess
from helm_ase.evaluation.comparison import MatrixErrors
from helm_ase.evaluation.errors import evaluate, summarise
from helm_ase.evaluation.inference import answers
from helm_ase.evaluation.plots import PICTURES, draw_all
from helm_ase.evaluation.report import as_json, as_text, facts_of
from helm_ase.evaluation.selection import select
from helm_ase.evaluation.statistics import QUANTITIES, by_size, by_state, statistics, values
from helm_ase.labels.formats import open_labels
from helm_ase.nn import HELM
from helm_ase.nn.placement import move
from shared.evaluated_models import checkpoint, write
from shared.sample_labels import TINY

pytestmark = pytest.mark.scf
QUICK = AssessmentSettings(energy_from_h=False)


def run(*arguments):
    return main(["evaluate", *map(str, arguments)])


def judge(subject, settings=QUICK, **options):
    with open_labels(subject.path) as source:
        selection = select(subject.checkpoint, source, **options)
        return assess(subject.checkpoint, selection, settings), facts_of(subject.checkpoint, selection)


# --- laws ---------------------------------------------------------------------------------------------


@pytest.fixture
def perfect(monkeypatch):
    """A network that knows the labels."""
    truth = {}

    def know(subject):
        truth.update({x.name: x for x in subject.labels})

    def knowing(model, samples, energy=True, hamiltonian=True):
        for answer in answers(model, samples, energy, hamiltonian):
            label = truth[answer.sample.name]
            molecule = assessment_module.Molecule(label, model.basis, answer.sample.overlap)
            exact = molecule.reference().structure.hamiltonian.numpy() - answer.sample.baseline.numpy()
            total = np.nan if label.energy is None else label.energy
            yield replace(answer, correction=exact, energy=total, forces=label.forces)

    monkeypatch.setattr(assessment_module, "answers", knowing)
    return know


@pytest.mark.parametrize("which", ["closed", "opened"])
def test_a_perfect_model_has_no_error_anywhere(which, request, perfect):
    subject = request.getfixturevalue(which)
    perfect(subject)
    found, _ = judge(subject, AssessmentSettings(energy_from_h=True))
    for name, quantity in QUANTITIES.items():
        tolerance = 1e-2 if name in {"dipole", "energy_from_h", "energy_from_h_molecule"} else 1e-6
        tolerance = 1e-3 if name == "forces" else tolerance  # meV/Å; samples hold single precision
        whole = 100.0 if quantity.similarity else 0.0
        of = values(name, found.molecules)
        np.testing.assert_allclose(of[~np.isnan(of)], whole, atol=tolerance, err_msg=name)
    assert statistics("energy_from_h", found.molecules).molecules == len(found.molecules)
    assert statistics("hamiltonian", found.molecules, baseline=True).mean > 1e4
    assert sum(t.absolute for t in found.model.pairs.values()) < 1e-9


@pytest.mark.parametrize("share", [0, 2], ids=["none has H", "some have H"])
def test_labels_without_hamiltonian_cost_no_hamiltonian(share, closed, tmp_path, monkeypatch):
    """Errors of energies and forces are those of the same labels with H; H0 and ΔH are not computed."""
    plain = [x.without_orbitals() if k >= share else x for k, x in enumerate(closed.labels)]
    subject = closed._replace(path=write(tmp_path / "plain.h5", plain))
    asked = []
    forward = HELM.forward

    def counting(self, graph, **wanted):
        asked.append(wanted["hamiltonian"])
        return forward(self, graph, **wanted)

    monkeypatch.setattr(HELM, "forward", counting)
    expected, _ = judge(closed)
    asked.clear()
    found, _ = judge(subject)
    for name in ("energy", "forces"):
        np.testing.assert_allclose(values(name, found.molecules), values(name, expected.molecules), atol=1e-6)
    known = ~np.isnan(values("hamiltonian", found.molecules))
    assert known.sum() == share
    assert any(asked) == bool(share)
    with open_labels(subject.path) as source:
        assert select(subject.checkpoint, source).dataset.settings.matrices == bool(share)


def test_shares_add_up_to_the_error_in_the_table(closed):
    found, facts = judge(closed)
    report = json.loads(as_json(facts, found))
    for group in ("hamiltonian_by_elements", "hamiltonian_by_distance"):
        for share, key in (("share", "model"), ("h0_share", "h0")):
            total = sum(c[share] for c in report[group])
            assert total == pytest.approx(report["errors"]["hamiltonian"][key]["mean"], rel=1e-12)
    for groups in (report["by_state"], report["by_atoms"], report["by_heavy_atoms"]):
        means = [(g["molecules"], g["gap"]["mean"]) for g in groups.values()]
        assert sum(n for n, _ in means) == report["molecules"]
        mean = np.average([m for _, m in means], weights=[n for n, _ in means])
        assert mean == pytest.approx(report["errors"]["gap"]["model"]["mean"], rel=1e-12)


def test_it_agrees_with_what_training_watches(closed):
    found, _ = judge(closed)
    with open_labels(closed.path) as source:
        watched = summarise(evaluate(closed.checkpoint.model, select(closed.checkpoint, source).dataset))
    scale = {"energy": 1e3, "forces": 1e3}
    for name in ("hamiltonian", "occupied", "homo", "lumo", "gap", "energy", "forces"):
        ours = statistics(name, found.molecules).mean
        assert ours == pytest.approx(scale.get(name, 1) * watched[name], rel=1e-4), name


def test_batches_do_not_change_the_answers(closed):
    model = checkpoint().model.cast(__import__("torch").float64)
    with open_labels(closed.path) as source:
        dataset = select(closed.checkpoint, source).dataset
        one = list(answers(model, dataset, max_load=1))
        all_at_once = list(answers(model, dataset, max_load=10**6))
    assert [a.sample.name for a in one] == [a.sample.name for a in all_at_once]
    for a, b in zip(one, all_at_once, strict=True):
        np.testing.assert_allclose(a.correction, b.correction, atol=1e-12)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-9)
        assert a.energy == pytest.approx(b.energy, abs=1e-9)


def test_molecules_are_read_a_batch_at_a_time(closed):
    class Counting(list):
        read = 0

        def __getitem__(self, k):
            Counting.read += 1
            return super().__getitem__(k)

    with open_labels(closed.path) as source:
        samples = Counting(select(closed.checkpoint, source).dataset)
    first = next(iter(answers(closed.checkpoint.model, samples, max_load=10)))
    assert first.sample.name == samples[0].name
    assert Counting.read < len(samples)


def test_labels_may_lack_energy_forces_and_dipole(closed, tmp_path):
    bare = [replace(x, energy=None, forces=None, dipole=None) for x in closed.labels[:2]]
    subject = closed._replace(path=write(tmp_path / "bare.h5", [*bare, closed.labels[3]]))
    found, facts = judge(subject, AssessmentSettings(energy_from_h=True))
    assert np.isnan(values("energy", found.molecules)).tolist() == [True, True, False]
    assert np.isnan(values("forces", found.molecules)).tolist() == [True, True, False]
    assert np.isfinite(values("energy_from_h", found.molecules)).all()
    assert json.loads(as_json(facts, found))["references"] == {"dipole_from_label": 1, "energy_from_label": 1}
    whole, _ = judge(closed, AssessmentSettings(energy_from_h=True), limit=1)
    assert found.molecules[0].model.energy_from_h == pytest.approx(
        whole.molecules[0].model.energy_from_h, abs=1e-4
    )


def test_a_model_of_energies_alone_is_judged_on_energies_alone(closed, tmp_path):
    subject = closed._replace(checkpoint=checkpoint(training={"predicts": ["energy", "forces"]}))
    found, facts = judge(subject, AssessmentSettings(energy_from_h=True, scf=1))
    assert np.isfinite(values("energy", found.molecules)).all()
    for name in fields(MatrixErrors):
        assert all(np.isnan(getattr(m.model.errors, name.name)) for m in found.molecules)
    assert "H, mean absolute element" not in as_text(facts, found)
    assert [p.name for p in draw_all(found, tmp_path, "x")] == ["size.png"]
    other = closed._replace(checkpoint=checkpoint(training={"predicts": ["hamiltonian"]}))
    found, _ = judge(other)
    assert np.isnan(values("energy", found.molecules)).all()
    assert np.isnan(values("forces", found.molecules)).all()
    assert np.isfinite(values("hamiltonian", found.molecules)).all()


def test_a_model_that_returns_no_numbers_is_named_with_the_molecule(closed):
    broken = checkpoint()
    next(broken.model.hamiltonian_heads[0].parameters()).data.fill_(float("nan"))
    with pytest.raises(PredictionError, match=r"H2O\+0_1_0: .*not finite; is the checkpoint sound"):
        judge(closed._replace(checkpoint=broken))


def test_forces_are_averaged_over_components_and_not_over_molecules(closed):
    reports = judge(closed)[0].molecules
    atoms, errors = np.array([r.atoms for r in reports]), np.array([r.forces for r in reports])
    assert statistics("forces", reports).mean == pytest.approx(1e3 * (atoms * errors).sum() / atoms.sum())
    assert {name: len(m) for name, m in by_size(reports).items()} == {"1-4": 4, "5-8": 4}


def test_molecules_are_grouped_by_charge_and_spin(closed):
    report = judge(closed)[0].molecules[0]
    states = [(0, 1), (1, 1), (-2, 1), (0, 2), (1, 2), (0, 1)]
    reports = [replace(report, charge=q, multiplicity=m) for q, m in states]
    sizes = {name: len(members) for name, members in by_state(reports).items()}
    assert sizes == {"neutral closed shells": 2, "cations": 1, "anions": 1, "open shells": 2}


@pytest.mark.parametrize("scf", [-1, -5])
def test_a_negative_number_of_scf_calculations_is_refused(scf):
    with pytest.raises(SettingError, match=f"scf is {scf}"):
        AssessmentSettings(scf=scf)


@pytest.mark.parametrize(
    ("device", "dtype", "words"), [("nowhere", "float32", "nowhere"), (None, "int8", "int8")]
)
def test_devices_and_precisions_that_do_not_exist_are_refused(closed, device, dtype, words):
    with pytest.raises(SettingError, match=words):
        move(checkpoint().model, device, dtype)


# --- the command --------------------------------------------------------------------------------------


def test_the_command_writes_everything_and_prints_tables(closed, tmp_path, capsys):
    before = dict(matplotlib.rcParams), matplotlib.get_backend()
    out = tmp_path / "a" / "out"
    assert run(closed.model, closed.path, "-o", out, "--scf", 2, "--cache", tmp_path / "cache") == 0
    assert (dict(matplotlib.rcParams), matplotlib.get_backend()) == before
    printed = capsys.readouterr().out
    for words in ("# tiny on labels.h5, split val", "8 molecules, pbe/sto-3g, H0: sap", "H-C", "on-site",
                  "energy from H, meV/atom", "forces, meV/Å", "SCF cycles", "energies agree to"):  # fmt: skip
        assert words in printed
    assert {p.name for p in out.iterdir()} == {"evaluation.json", "molecules.csv", *PICTURES}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    text = (out / "evaluation.json").read_text()
    report = json.loads(text)
    assert str(tmp_path) not in text
    assert report["checkpoint_sha256"] == file_sha256(closed.model)
    assert (report["data"], report["data_sha256"]) == ("labels.h5", file_sha256(closed.path))
    assert (report["checkpoint"], report["split"], report["molecules"]) == ("tiny", "val", 8)
    assert {"python", "torch", "pyscf", "numpy"} <= set(report["versions"])
    assert report["scf"]["molecules"] == 2
    assert report["scf"]["largest_difference"] < 1e-5
    with (out / "molecules.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["name"] for r in rows] == [x.name for x in closed.labels if x.split == "val"]
    column = np.array([float(r["hamiltonian_uEh"]) for r in rows])
    assert column.mean() == pytest.approx(report["errors"]["hamiltonian"]["model"]["mean"], rel=1e-6)
    assert {r["formula"] for r in rows} == {"H2O", "CH4", "HF", "CH4O"}
    assert sum(r["scf_cycles"] != "" for r in rows) == 2
    assert len(list((tmp_path / "cache").glob("*.cache"))) == 1


def test_the_command_takes_radicals_ions_and_lone_atoms(opened, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert run(opened.model, opened.path, "-o", tmp_path, "--scf", 1, "--cache", tmp_path) == 0
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["molecules"] == 12
    assert report["errors"]["forces"]["model"]["molecules"] == 4
    assert "H on-site" in capsys.readouterr().out


@pytest.mark.parametrize("settings", [AssessmentSettings(), AssessmentSettings(energy_from_h=False, scf=1)])
def test_pyscf_is_not_asked_for_another_functional_of_the_same_name(closed, settings):
    with open_labels(closed.path) as source:
        selection = select(closed.checkpoint, source)
        other = replace(selection, level=replace(selection.level, functional="b3lyp", variant="VWN5"))
        with pytest.raises(SettingError, match=r"as 'VWN5'.*--no-energy-from-h"):
            assess(closed.checkpoint, other, settings)
        assert "which pbe" in facts_of(closed.checkpoint, selection).remarks[0]
        assert not facts_of(closed.checkpoint, other).remarks


def test_a_second_run_gives_the_same_file_and_json_can_be_printed(closed, tmp_path, capsys):
    quick = ("--no-energy-from-h", "--no-plots", "--json", "--limit", 2, "--cache", tmp_path / "cache")
    printed = []
    for _ in range(2):
        assert run(closed.model, closed.path, "-o", tmp_path / "out", *quick) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == (tmp_path / "out" / "evaluation.json").read_text()
    report = json.loads(printed[0])
    assert report["molecules"] == 2
    assert report["scf"] is None
    assert report["errors"]["energy_from_h"]["model"]["mean"] is None
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"evaluation.json", "molecules.csv"}


def test_without_a_folder_nothing_is_written_but_h0(closed, tmp_path, capsys):
    path = write(tmp_path / "labels.h5", closed.labels[:2])
    assert run(closed.model, path, "--no-energy-from-h") == 0
    assert "2 molecules" in capsys.readouterr().out
    assert {p.suffix for p in tmp_path.iterdir()} == {".h5", ".cache"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "test"], "split 'test', only train (1), val (8)"),
        (["--device", "nowhere"], "device 'nowhere' cannot be used"),
        (["--format", "nothing"], "unknown format 'nothing'"),
    ],
)
def test_bad_options_are_refused_in_one_line(closed, arguments, words, capsys, tmp_path):
    assert run(closed.model, closed.path, "--cache", tmp_path, *arguments) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


def test_bad_subjects_are_refused_with_a_way_out(closed, opened, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("")
    save_checkpoint(checkpoint(level=replace(TINY, functional="b3lyp")), tmp_path / "other.safetensors")
    for arguments, words in (
        (["no-such-model", closed.path], "'no-such-model' is neither a model"),
        ([closed.model, tmp_path / "none.h5"], "none.h5 does not exist"),
        ([closed.model, closed.path, "-o", file], "file is a file; -o needs a folder"),
        ([closed.model, opened.path], "choose another model (helm-ase models), or leave them out with"),
        ([tmp_path / "other.safetensors", closed.path], "another level of theory than model 'tiny'"),
    ):
        assert run(*arguments, "--cache", tmp_path) == 1
        assert words in capsys.readouterr().err
