"""Which structures are worth a label: laws of the choice, on made-up features, and on a model's own."""

import json
from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from scipy.stats import special_ortho_group

from helm_ase import load_model, predict_many
from helm_ase.cli import main
from helm_ase.errors import SettingError, StructureError
from helm_ase.labelling.pool import REFUSED, SelectionSettings, read_pool, select, write_selection
from helm_ase.labelling.selection import NOISE, Candidates, choose, whiten

MODEL, OTHER = "helm-hcnof-2", "helm-organic-1"


def candidates(rng, count=12, width=5):
    return Candidates(rng.uniform(0.5, 2, count), rng.standard_normal((count, width)), range(count))


def log_det(pool, chosen):
    """Of 1 + K/σ², written as in the definition."""
    unit = pool.features / np.linalg.norm(pool.features, axis=1, keepdims=True)
    psi = pool.uncertainty[:, None] * unit
    kernel = (psi @ psi.T)[np.ix_(chosen, chosen)]
    noise = NOISE * np.median(pool.uncertainty)
    return np.linalg.slogdet(np.eye(len(chosen)) + kernel / noise**2)[1]


# -- the choice ---------------------------------------------------------------------------------------------


def test_each_step_takes_what_raises_the_determinant_most(rng):
    pool = candidates(rng)
    found = [c.index for c in choose(pool, 6)]
    for step in range(1, 7):
        others = set(range(12)) - set(found[: step - 1])
        best = max(others, key=lambda k: log_det(pool, [*found[: step - 1], k]))
        assert found[step - 1] == best


def test_what_is_left_of_the_uncertainty_is_the_conditional_variance(rng):
    pool = candidates(rng)
    chosen = choose(pool, 5)
    unit = pool.features / np.linalg.norm(pool.features, axis=1, keepdims=True)
    kernel = (pool.uncertainty[:, None] * unit) @ (pool.uncertainty[:, None] * unit).T
    noise = NOISE * np.median(pool.uncertainty)
    for step, choice in enumerate(chosen):
        known, k = [c.index for c in chosen[:step]], choice.index
        block = kernel[np.ix_(known, known)] + noise**2 * np.eye(len(known))
        left = kernel[k, k] - kernel[k, known] @ np.linalg.solve(block, kernel[known, k])
        assert choice.remaining == pytest.approx(np.sqrt(left), rel=1e-9)
        assert choice.remaining <= choice.uncertainty + 1e-12


def test_greedy_is_close_to_the_best_set_of_all(rng):
    pool = candidates(rng)
    best = max(log_det(pool, list(s)) for s in combinations(range(12), 4))
    found = log_det(pool, [c.index for c in choose(pool, 4)])
    assert (1 - 1 / np.e) * best < found <= best + 1e-9


def test_without_diversity_the_uncertain_come_first_and_more_uncertainty_never_hurts(rng):
    pool = candidates(rng)
    found = [c.index for c in choose(pool, 5, diverse=False)]
    assert found == np.argsort(-pool.uncertainty)[:5].tolist()
    for k in range(12):
        raised = Candidates(pool.uncertainty.copy(), pool.features, pool.kind)
        raised.uncertainty[k] *= 1.5
        after = [c.index for c in choose(raised, 5, diverse=False)]
        assert k in after or k not in found
        assert k not in found or after.index(k) <= found.index(k)


def test_the_first_is_the_most_uncertain_with_diversity_too(rng):
    pool = candidates(rng)
    assert choose(pool, 1)[0].index == int(np.argmax(pool.uncertainty))


def test_two_groups_share_the_choice_though_one_is_more_uncertain(rng):
    directions = np.eye(4)[[0] * 10 + [1] * 10] + 0.01 * rng.standard_normal((20, 4))
    pool = Candidates(np.array([2.0] * 10 + [1.0] * 10), directions, range(20))
    assert {c.index // 10 for c in choose(pool, 2)} == {0, 1}
    assert {c.index // 10 for c in choose(pool, 2, diverse=False)} == {0}


@pytest.mark.parametrize("diverse", [True, False])
def test_copies_are_never_both_chosen(rng, diverse):
    pool = candidates(rng, 6)
    noise = 1 + 1e-6 * rng.standard_normal((6, 1))
    twice = Candidates(
        np.tile(pool.uncertainty, 2), np.vstack([pool.features, noise * pool.features]), [*range(6)] * 2
    )
    found = [c.index % 6 for c in choose(twice, 12, diverse)]
    assert sorted(found) == list(range(6))


def test_order_does_not_matter(rng):
    pool, order = candidates(rng), rng.permutation(12)
    shuffled = Candidates(pool.uncertainty[order], pool.features[order], [pool.kind[k] for k in order])
    assert [order[c.index] for c in choose(shuffled, 7)] == [c.index for c in choose(pool, 7)]


def test_scale_of_uncertainty_does_not_matter(rng):
    pool = candidates(rng)
    scaled = Candidates(1e-3 * pool.uncertainty, 7 * pool.features, pool.kind)
    assert [c.index for c in choose(scaled, 7)] == [c.index for c in choose(pool, 7)]


def test_whitened_features_have_unit_moments(rng):
    found = whiten(rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)))
    np.testing.assert_allclose(found.T @ found / 200, np.eye(4), atol=1e-3)


def test_nothing_to_choose_from_and_nothing_asked_for():
    assert choose(Candidates(np.zeros(0), np.zeros((0, 1)), []), 3) == []
    with pytest.raises(SettingError, match="at least 1"):
        choose(Candidates(np.ones(1), np.ones((1, 1)), [0]), 0)


# -- a pool and a model -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool():
    found = []
    for name in ("H2O", "CH4", "C6H6", "CH3OH", "HCN", "CH3CHO"):
        for seed in range(2):
            atoms = molecule(name)
            atoms.rattle(0.06, seed=seed)
            atoms.info["name"] = f"{name}-{seed}"
            found.append(atoms)
    return found


def names(selection):
    return [judged.atoms.info["name"] for judged, _ in selection.chosen]


def ask(pool, count, labelled=frozenset(), **keywords):
    return select(pool, SelectionSettings(count, MODEL, progress=False, **keywords), labelled)


def test_features_of_many_are_those_of_one_and_give_the_error_bar(pool):
    import torch

    from helm_ase import HELMCalculator

    bar = load_model(MODEL).uncertainty
    for atoms, found in zip(pool, predict_many(pool, ["features"], MODEL), strict=True):
        assert found.energy is None
        own = HELMCalculator(MODEL).get_uncertainty(atoms)
        ours = bar.per_atom(torch.from_numpy(found.features), torch.tensor([len(atoms)]))
        assert float(ours) == pytest.approx(own.per_atom, rel=1e-3)


def test_without_diversity_the_order_is_that_of_the_error_bars(pool):
    from helm_ase import HELMCalculator

    calc = HELMCalculator(MODEL)
    bars = {atoms.info["name"]: calc.get_uncertainty(atoms).per_atom for atoms in pool}
    found = ask(pool, 12, diverse=False)
    assert names(found) == sorted(bars, key=lambda name: -bars[name])
    for judged, choice in found.chosen:
        assert choice.uncertainty == pytest.approx(bars[judged.atoms.info["name"]], rel=1e-3)


@pytest.mark.parametrize(("model", "strange", "formula"), [(MODEL, "C6H6", "C6H6"), (OTHER, "ClF3", "ClF3")])
def test_diversity_does_not_take_one_molecule_over_and_over(model, strange, formula):
    """Error bars of the one model are rigidities, those of the other distances."""
    frames = [molecule(strange) for _ in range(8)] + [molecule(n) for n in ("CH4", "HCN", "CH3OH", "C2H4")]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.01, seed=seed)
        atoms.info["name"] = f"{atoms.get_chemical_formula()}-{seed}"
    plain, diverse = (
        names(select(frames, SelectionSettings(4, model, progress=False, diverse=diverse), frozenset()))
        for diverse in (False, True)
    )
    assert sum(name.startswith(formula) for name in plain) == 4
    assert sum(name.startswith(formula) for name in diverse) <= 2


def test_permuted_pools_and_copies_give_the_same_choice(pool, rng):
    expected = names(ask(pool, 5))
    turned = []
    for k in rng.permutation(len(pool)):
        atoms = pool[k].copy()
        atoms.positions = atoms.positions @ special_ortho_group.rvs(3, random_state=int(k)).T + 1.0
        atoms = atoms[rng.permutation(len(atoms))]
        atoms.info["name"] = pool[k].info["name"]
        turned.append(atoms)
    shuffled = [pool[k] for k in rng.permutation(len(pool))]
    assert names(ask(shuffled, 5)) == expected
    both = names(ask(turned + pool, 24))
    assert sorted(both) == sorted(atoms.info["name"] for atoms in pool)


def test_what_cannot_be_judged_is_kept_and_said(pool, tmp_path, capsys):
    odd = [molecule("SO2"), Atoms("OH", [[0, 0, 0], [0, 0, 1]]), molecule("H2O")]
    odd[2].pbc = True
    for k, atoms in enumerate(odd):
        atoms.info["name"] = f"odd-{k}"
    write(tmp_path / "pool.xyz", [*odd, *pool[:4]])
    target = tmp_path / "chosen.xyz"
    arguments = [
        "select",
        str(tmp_path / "pool.xyz"),
        "-n",
        "2",
        "-o",
        str(target),
        "--model",
        MODEL,
        "--quiet",
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 of 7 structures chosen; 0 have a label or are there twice, 3 cannot be judged" in printed
    assert "has not seen S" in printed
    refused = read(f"{target}{REFUSED}", ":")
    assert sorted(atoms.info["name"] for atoms in refused) == ["odd-0", "odd-1", "odd-2"]
    assert all(atoms.info["refused"] for atoms in refused)
    chosen = read(target, ":")
    assert [atoms.info["selection_rank"] for atoms in chosen] == [1, 2]
    assert chosen[0].info["error_bar"] > 0
    assert chosen[0].calc is None


def test_what_has_a_label_is_left_out(pool):
    first = ask(pool, 3)
    keys = frozenset(judged.key for judged, _ in first.chosen)
    second = ask(pool, 20, keys)
    assert not set(names(first)) & set(names(second))
    assert len(second.chosen) == len(pool) - 3
    assert second.labelled == 3


def test_committees_and_functional_energies_add_their_squares(pool):
    few = [pool[0], pool[2], pool[8]]
    found = ask(few, 3, committee=(OTHER,), functional_energy=True)
    for judged, choice in found.chosen:
        squares = judged.error_bar**2 + judged.spread**2 + judged.functional**2
        assert choice.uncertainty == pytest.approx(np.sqrt(squares))
        energies = [
            next(iter(predict_many([judged.atoms], ["energy"], model))).energy for model in (MODEL, OTHER)
        ]
        assert judged.spread == pytest.approx(np.std(energies, ddof=1) / len(judged.atoms), abs=1e-6)
    with pytest.raises(SettingError, match="one model twice"):
        ask(few, 1, committee=(MODEL,))


def test_pools_that_hold_nothing_or_are_the_output_are_refused(tmp_path, capsys):
    path = tmp_path / "one.xyz"
    write(path, molecule("H2O"))
    assert main(["select", str(path), "-n", "1", "-o", str(path)]) == 1
    with pytest.raises(SystemExit):
        main(["select", str(path), "-n", "0", "-o", str(tmp_path / "out.xyz")])
    assert main(["select", str(path), "-n", "1", "-o", str(tmp_path / "out.cif")]) == 1
    assert "writes .xyz" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["one.xyz"]
    (tmp_path / "none.xyz").write_text("")
    with pytest.raises(StructureError):
        read_pool([tmp_path / "none.xyz"])


def test_the_chosen_file_is_read_by_the_labelling_command(pool, tmp_path):
    from helm_ase.labelling import read_structures

    target = tmp_path / "chosen.xyz"
    assert write_selection(ask(pool, 3), target) is None
    structures = read_structures([target])
    assert [s.details["selection_rank"] for s in structures] == [1, 2, 3]
    assert json.dumps(structures[0].details)
