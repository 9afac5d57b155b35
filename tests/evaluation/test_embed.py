"""``helm-ase embed``: embeddings, their invariances, and how far they tell atoms apart."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import helm_ase.evaluation.umap_picture as umap_picture
from helm_ase.cli import main
from helm_ase.evaluation.embedding import Embeddings, embed, environments, invariants, randomised
from helm_ase.evaluation.separation import compare, scores
from helm_ase.representation import LabelledMolecule
from shared.evaluated_models import write
from shared.geometries import FORMAMIDE
from shared.rotations import improper, rotation
from shared.small_models import SPD, tiny_model

NUMBERS, POSITIONS = np.array(FORMAMIDE[0]), np.array(FORMAMIDE[1])


def geometry(numbers=NUMBERS, positions=POSITIONS):
    return LabelledMolecule("x", numbers, positions, np.zeros((1, 1)))


@pytest.fixture(scope="module")
def model():
    return tiny_model(SPD)


def run(*arguments):
    return main(["embed", *map(str, arguments)])


# --- embeddings ---------------------------------------------------------------------------------------


def test_embeddings_have_a_row_for_every_atom_and_degree(model):
    found = embed(model, geometry())
    b = model.settings.backbone
    assert found.shape == (6, b.lmax + 1, b.natural_channels + b.unnatural_channels)
    assert (found[:, 1:] >= 0).all()
    assert (found[:, 0] < 0).any()
    assert np.abs(found).max(axis=(0, 2)).min() > 1e-3


def test_rotating_and_shifting_a_molecule_changes_nothing(model):
    turned = geometry(positions=POSITIONS @ rotation(5).T + [3.0, -2.0, 1.0])
    np.testing.assert_allclose(embed(model, turned), embed(model, geometry()), atol=1e-6)


def test_a_mirror_changes_the_sign_of_unnatural_scalars_and_nothing_else(model):
    mirrored = embed(model, geometry(positions=POSITIONS @ improper(5).T))
    plain = embed(model, geometry())
    natural = model.settings.backbone.natural_channels
    np.testing.assert_allclose(mirrored[:, 1:], plain[:, 1:], atol=1e-6)
    np.testing.assert_allclose(mirrored[:, 0, :natural], plain[:, 0, :natural], atol=1e-6)
    np.testing.assert_allclose(mirrored[:, 0, natural:], -plain[:, 0, natural:], atol=1e-6)


def test_renumbering_the_atoms_renumbers_their_embeddings(model):
    order = np.array([3, 0, 5, 1, 4, 2])
    found = embed(model, geometry(NUMBERS[order], POSITIONS[order]))
    np.testing.assert_allclose(found, embed(model, geometry())[order], atol=1e-6)


def test_embeddings_are_what_the_hamiltonian_head_reads(model):
    from helm_ase.representation.graph import AtomicGraph

    seen = []
    hook = model.backbone.norm_nodes.register_forward_hook(lambda *a: seen.append(a[2]))
    graph = AtomicGraph.from_arrays(NUMBERS, POSITIONS, model.cutoff)
    with torch.no_grad():
        model(graph, energy=False, hamiltonian=True)
        nodes = model.embed_nodes(graph)
    hook.remove()
    assert torch.equal(nodes, seen[0])


def test_norms_are_over_m_alone():
    nodes = torch.arange(2 * 4 * 3, dtype=torch.float64).reshape(2, 4, 3) - 5
    found = invariants(nodes)
    assert torch.equal(found[:, 0], nodes[:, 0])
    assert torch.allclose(found[:, 1] ** 2, (nodes[:, 1:] ** 2).sum(1))


def test_random_weights_are_reproducible_and_leave_the_generator_alone(model):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one, same, other = randomised(model, 1), randomised(model, 1), randomised(model, 2)
    assert torch.equal(torch.rand(3), expected)
    weights = [m.backbone.element.weight for m in (one, same, other, model)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert weights[0].dtype == weights[3].dtype == torch.float64


def test_environments_name_an_atom_and_its_neighbours():
    assert environments(geometry())[:3] == ["O(C)", "C(HNO)", "N(CHH)"]


# --- scores -------------------------------------------------------------------------------------------


def clouds(rng, distance, count=60, molecules=None):
    labels = np.repeat([0, 1, 2], count)
    features = rng.normal(size=(3 * count, 4)) + distance * labels[:, None]
    return features, labels, np.arange(3 * count) if molecules is None else molecules


def test_classes_far_apart_are_separated_and_noise_is_not(rng):
    far = scores(*clouds(rng, 100.0))
    assert far.silhouette > 0.95
    assert far.purity == 1.0
    none = scores(*clouds(rng, 0.0))
    assert abs(none.silhouette) < 0.03
    assert none.purity == pytest.approx(none.chance, abs=0.06)
    assert none.chance == pytest.approx(1 / 3, abs=0.01)


def test_the_silhouette_is_that_of_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    features, labels, molecule = clouds(rng, 1.5)
    expected = metrics.silhouette_score(features, labels)  # classes of one size: balanced means nothing
    assert scores(features, labels, molecule).silhouette == pytest.approx(expected, abs=1e-12)


def test_classes_count_the_same_however_large_they_are(rng):
    labels = np.array([0] * 95 + [1] * 5)
    features = np.where(labels == 0, 0.0, 50.0)[:, None] + rng.normal(size=(100, 2))
    found = scores(features, labels, np.arange(100))
    assert found.purity == 1.0  # of the five, only four others are looked for
    assert found.chance == pytest.approx(0.5 * (94 / 99 + 4 / 99), abs=1e-9)


def test_atoms_of_one_molecule_are_no_neighbours_of_each_other():
    features = np.array([[0.0], [0.01], [5.0], [5.01]])
    found = scores(features, np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert found.purity == 1.0  # the third would find the fourth first, and the fourth has no fellow
    assert found.chance == pytest.approx(2 / 3)
    lone = scores(features, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    assert np.isnan(lone.purity)


def test_a_single_class_has_no_silhouette(rng):
    found = scores(rng.normal(size=(10, 2)), np.zeros(10), np.arange(10))
    assert np.isnan(found.silhouette)
    assert (found.purity, found.chance) == (1.0, 1.0)


def test_rotating_embeddings_changes_no_score(rng):
    features, labels, molecule = clouds(rng, 1.0)
    turned = features @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 7.0
    one, other = scores(features, labels, molecule), scores(turned, labels, molecule)
    assert other.silhouette == pytest.approx(one.silhouette, abs=1e-10)
    assert other.purity == pytest.approx(one.purity, abs=1e-3)


def test_every_degree_is_scored_by_element_and_environment(rng):
    values = rng.normal(size=(30, 3, 5)).astype(np.float32)
    made = Embeddings(
        values, np.repeat([1, 6, 8], 10), np.arange(30) // 3, np.repeat(["H()", "C()", "O()"], 10)
    )
    found = compare(made, replace(made, values=np.zeros_like(values)))
    assert set(found) == {"element", "environment"}
    assert list(found["element"]) == ["l=0", "l=1", "l=2", "all"]
    one, other = (found[kind]["all"]["trained"] for kind in ("element", "environment"))
    assert (other.silhouette, other.purity) == pytest.approx((one.silhouette, one.purity))
    assert found["element"]["l=1"]["random"].silhouette == 0.0


# --- the command --------------------------------------------------------------------------------------


@pytest.mark.scf
def test_the_command_saves_embeddings_and_scores(closed, tmp_path, capsys):
    assert run(closed.model, closed.path, "-o", tmp_path, "--no-umap") == 0
    printed = capsys.readouterr().out
    assert "8 molecules, 32 atoms" in printed
    assert "random weights" in printed
    with np.load(tmp_path / "embeddings.npz") as saved:
        assert set(saved) == {"embeddings", "atomic_numbers", "molecule", "environment", "l"}
        assert saved["embeddings"].shape == (32, 3, 9)
        assert saved["l"].tolist() == [0, 1, 2]
        names = [closed.labels[k].name for k in np.unique(saved["molecule"])]
        assert names == [x.name for x in closed.labels if x.split == "val"]
        first = saved["molecule"] == 0
        assert saved["atomic_numbers"][first].tolist() == closed.labels[0].numbers.tolist()
        expected = embed(closed.checkpoint.model, closed.labels[0])
        np.testing.assert_allclose(saved["embeddings"][first], expected, atol=1e-5)
    facts = json.loads((tmp_path / "separation.json").read_text())
    assert (facts["checkpoint"], facts["data"], facts["atoms"]) == ("tiny", "labels.h5", 32)
    assert set(facts["scores"]["element"]["all"]) == {"trained", "random"}
    assert {p.name for p in tmp_path.iterdir()} == {"embeddings.npz", "separation.json"}


@pytest.mark.scf
def test_one_lone_atom_has_an_embedding(opened, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(umap_picture, "find_spec", lambda name: True)
    path = write(tmp_path / "h.h5", [x for x in opened.labels if x.name.startswith("H+")][:1])
    assert run(opened.model, path, "-o", tmp_path / "out", "--no-umap") == 0
    assert "1 molecules, 1 atoms" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "separation.json").read_text())["scores"]
    assert scores["element"]["all"]["trained"] == {"silhouette": None, "purity": None, "chance": None}
    assert run(opened.model, path, "-o", tmp_path / "out") == 1
    assert "1 atoms do not make a picture" in capsys.readouterr().err


@pytest.mark.scf
def test_without_umap_the_way_to_get_it_is_said_before_anything_is_computed(
    closed, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(umap_picture, "find_spec", lambda name: None)
    assert run(closed.model, closed.path, "-o", tmp_path / "out") == 1
    assert "pip install 'helm-ase[embed]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.scf
def test_the_picture_has_a_panel_for_every_degree_and_its_points_are_saved(
    closed, tmp_path, capsys, monkeypatch
):
    class Flat:
        """Stands for UMAP, whose compilation takes longer than all other tests."""

        def __init__(self, **settings):
            assert settings["min_dist"] == 0.1
            assert settings["n_neighbors"] == 15
            assert settings["random_state"] == 42

        def fit_transform(self, points):
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "umap", type(sys)("umap"))
    sys.modules["umap"].UMAP = Flat
    monkeypatch.setattr(umap_picture, "find_spec", lambda name: True)
    assert run(closed.model, closed.path, "-o", tmp_path) == 0
    assert (tmp_path / "umap.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "embeddings.npz") as saved:
        np.testing.assert_array_equal(saved["umap_l1"], saved["embeddings"][:, 1, :2])
        np.testing.assert_array_equal(saved["umap_all"][32:64], saved["umap_l1"])
        assert saved["umap_all"].shape == (96, 2)


@pytest.mark.slow
@pytest.mark.scf
def test_umap_itself_gives_the_same_picture_twice(closed, tmp_path, capsys):
    pytest.importorskip("umap")
    pictures = []
    for k in range(2):
        assert run(closed.model, closed.path, "-o", tmp_path / str(k)) == 0
        with np.load(tmp_path / str(k) / "embeddings.npz") as saved:
            pictures.append(saved["umap_all"])
    np.testing.assert_array_equal(*pictures)
    assert np.isfinite(pictures[0]).all()


@pytest.mark.scf
@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--split", "none"], "split 'none', only train (1), val (8)")],
)
def test_bad_options_of_embed_are_refused_in_one_line(closed, tmp_path, arguments, words, capsys):
    assert run(closed.model, closed.path, "-o", tmp_path, "--no-umap", *arguments) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1
