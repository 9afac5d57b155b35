"""Campaigns of crystals: what is read, what survives an interruption, what the command writes."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from helm_ase.cli import main
from helm_ase.errors import ChargeError, DatasetError, StructureError
from helm_ase.labelling import CampaignSettings, campaign, read_structures, run_campaign
from helm_ase.labelling.journal import decode, encode
from helm_ase.labelling.sandbox import Outcome
from helm_ase.labels.crystals import CrystalSource
from helm_ase.qc.crystal_labelling import CrystalLabelSettings
from helm_ase.qc.labelling import LabelSettings
from helm_ase.representation.structure import CrystalStructure
from shared import crystal_labels

QUICK = ["--cutoff", "30", "--kpts", "8", "1", "1", "--workers", "1", "--quiet"]


def hydrogen(length=2.4):
    """Molecules in a row."""
    atoms = Atoms("H2", [[0, 0, 0], [0.8, 0, 0]], cell=[length, 0, 0], pbc=[True, False, False])
    atoms.info |= {"name": f"row {length}", "origin": "made up", "split": "val"}
    return atoms


def structures(count=3):
    made = [crystal_labels.label(k) for k in range(count)]
    return [CrystalStructure(x.name, x.numbers, x.positions, x.lattice, x.split) for x in made]


def settings(path, **more):
    return CampaignSettings(
        str(path), CrystalLabelSettings(crystal_labels.LEVEL, **more), progress=False, order="file"
    )


@pytest.fixture
def computed(monkeypatch):
    """Labels come from a table, not from an SCF; the names of those that were asked for."""
    asked = []

    def distribute(tasks, *_terms):
        for task in tasks:
            asked.append(task.name)
            yield Outcome(task.key, task.name, 0.0, crystal_labels.label(int(task.name.split()[1])))

    monkeypatch.setattr(campaign, "distribute", distribute)
    return asked


# --- reading ------------------------------------------------------------------------------------------


def test_frames_with_pbc_are_crystals_and_keep_what_is_known_of_them(tmp_path):
    ase.io.write(tmp_path / "rows.xyz", [hydrogen(2.4), hydrogen(2.5)])
    first, second = read_structures([tmp_path / "rows.xyz"])
    assert isinstance(first, CrystalStructure)
    assert (first.name, first.split, first.details) == ("row 2.4", "val", {"origin": "made up"})
    assert first.lattice.pbc.tolist() == [True, False, False]
    np.testing.assert_allclose(first.positions, hydrogen().positions)
    assert first.key != second.key


def test_molecules_and_crystals_do_not_share_a_campaign(tmp_path):
    ase.io.write(tmp_path / "both.xyz", [hydrogen(), molecule("H2O")])
    with pytest.raises(StructureError, match="molecules stand beside crystals"):
        read_structures([tmp_path / "both.xyz"])
    with pytest.raises(StructureError, match="not together"):
        run_campaign(structures(1), CampaignSettings(str(tmp_path / "x.h5"), LabelSettings()))


def charged():
    atoms = hydrogen()
    atoms.info["charge"] = 2
    return atoms


def coincident():
    atoms = hydrogen(0.81)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "kind", "says"),
    [
        (charged(), ChargeError, "neutral closed shells"),
        (bulk("Na", "bcc", 4.2), StructureError, "11 electrons has an open shell"),
        (coincident(), StructureError, "image of atom"),
    ],
)
def test_crystals_that_cannot_be_computed_are_refused_with_the_frame_named(tmp_path, atoms, kind, says):
    ase.io.write(tmp_path / "a.xyz", atoms)
    with pytest.raises(kind, match=says) as refused:
        read_structures([tmp_path / "a.xyz"])
    assert "frame 0" in str(refused.value)


# --- the campaign -------------------------------------------------------------------------------------


def test_the_journal_gives_back_a_crystal_to_the_last_bit():
    label = crystal_labels.label(1)
    back = decode(encode(label))
    assert back.lattice == label.lattice
    assert (back.key, back.name, back.mesh, back.energy) == (label.key, label.name, label.mesh, label.energy)
    assert np.array_equal(back.fock, label.fock)
    assert back.forces is None


def test_a_campaign_labels_only_what_has_no_label(tmp_path, computed):
    output = tmp_path / "labels.h5"
    assert run_campaign(structures(2), settings(output)).labelled == 2
    again = run_campaign(structures(3), settings(output))
    assert (again.labelled, again.present) == (1, 2)
    assert computed == ["chain 0", "chain 1", "chain 2"]
    assert [x.name for x in CrystalSource(output)] == ["chain 0", "chain 1", "chain 2"]
    assert [p.name for p in tmp_path.iterdir()] == ["labels.h5"]


def test_what_is_in_the_journal_of_an_interrupted_campaign_is_not_computed_again(tmp_path, computed):
    output = tmp_path / "labels.h5"
    with campaign.Journal(tmp_path / "labels.h5.journal", crystal_labels.LEVEL) as journal:
        journal.add(crystal_labels.label(1))
    done = run_campaign(structures(2), settings(output))
    assert computed == ["chain 0"]
    assert done.labelled == 1
    assert {x.name for x in CrystalSource(output)} == {"chain 0", "chain 1"}


def test_labels_that_lack_what_is_asked_for_are_told_of(tmp_path, computed):
    output = tmp_path / "labels.h5"
    run_campaign(structures(1), settings(output))
    asked = run_campaign(structures(1), settings(output, forces=True, stress=True))
    assert asked.lacking == ("forces",)  # a chain has no stress
    assert run_campaign(structures(1), settings(output)).lacking == ()


def test_the_file_of_another_kind_is_left_alone(tmp_path, computed):
    output = tmp_path / "labels.h5"
    run_campaign(structures(1), settings(output))
    before = output.read_bytes()
    with pytest.raises(DatasetError):
        run_campaign([], CampaignSettings(str(output), LabelSettings(), progress=False))
    assert output.read_bytes() == before


def test_options_of_molecules_are_refused_for_crystals(tmp_path, capsys):
    ase.io.write(tmp_path / "rows.xyz", hydrogen())
    command = ["label", str(tmp_path / "rows.xyz"), "-o", str(tmp_path / "x.h5")]
    assert main([*command, "--polarizability", "--tight"]) == 1
    assert "--polarizability, --tight: of molecules only" in capsys.readouterr().err
    assert main([*command, "--min-gap", "0.1", "--grid", "5", "--no-density-fitting"]) == 1
    assert "--grid, --density-fitting, --min-gap: of molecules only" in capsys.readouterr().err
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    command = ["label", str(tmp_path / "water.xyz"), "-o", str(tmp_path / "x.h5")]
    assert main([*command, "--kpts", "2", "2", "1", "--smearing", "0.02"]) == 1
    assert "--kpts, --smearing: of crystals only" in capsys.readouterr().err


@pytest.mark.scf
def test_the_command_labels_crystals_and_goes_on(tmp_path, capsys):
    pytest.importorskip("distributed")
    frames, output = tmp_path / "rows.xyz", tmp_path / "rows.h5"
    ase.io.write(frames, [hydrogen(2.4), hydrogen(1.6)])  # the second has too coarse a mesh
    main(["label", str(frames), "-o", str(output), *QUICK])
    main(["label", str(frames), "-o", str(output), *QUICK])  # nothing is left to do: no cluster is started
    said = capsys.readouterr().out
    assert "1 new labels, 0 were there already" in said
    assert "0 new labels, 1 were there already" in said
    assert "take a finer mesh" in said
    (label,) = CrystalSource(output)
    assert (label.name, label.split, label.mesh) == ("row 2.4", "val", (8, 1, 1))
    assert label.details["origin"] == "made up"
    assert label.fock.shape == (5, 2, 2)
    assert -32 < label.energy < -28  # of two hydrogen atoms, 13.6 eV each, and what binds them
