"""Who may import whom, read from the source; and what ``import helm_ase`` costs."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import helm_ase

ROOT = Path(helm_ase.__file__).parent
CHECKOUT = Path(__file__).parents[1]
BASE = {"errors", "units", "system"}
FOUNDATION = {"representation"}
SIBLINGS = {"nn", "electronic", "qc"}
COLUMNS = FOUNDATION | SIBLINGS
MAY_IMPORT = {
    "errors": set(),
    "units": set(),
    "system": {"errors"},
    "representation": BASE,
    "nn": BASE | FOUNDATION,
    "electronic": BASE | FOUNDATION,
    "qc": BASE | FOUNDATION,
    "checkpoint": BASE | {"representation", "nn", "qc.level"},
    "labels": BASE | {"representation", "qc"},
    "dataset": BASE | {"representation", "electronic", "qc", "labels"},
    "prediction": BASE | COLUMNS | {"checkpoint"},
    "sampling": BASE | {"representation"},
    "calculator": BASE | COLUMNS | {"checkpoint", "prediction"},
    "pictures": BASE | {"electronic", "calculator", "prediction"},
    "labelling": BASE | {"representation", "nn.placement", "qc", "labels", "checkpoint", "prediction"},
    "evaluation": BASE | COLUMNS | {"labels", "dataset", "checkpoint"},
    "training": BASE | COLUMNS | {"labels", "dataset", "checkpoint", "evaluation"},
    "cli": BASE
    | {
        "",
        "representation",
        "nn.placement",
        "qc",
        "checkpoint",
        "labels",
        "sampling",
        "labelling",
        "evaluation",
        "training",
    },
    "": set(),  # the package itself: everything it offers is loaded on first use
}
"""Part of the package → parts (or single modules) that it may import, its own modules aside."""

SINGLE = {
    "representation.charge_state": {"errors"},
    "representation.connectivity": {"errors", "representation.geometry"},
    "dataset.crystals": BASE | {"representation", "qc", "electronic"},
    "electronic.fields": BASE | {"electronic"},
    "prediction.crystals": BASE | COLUMNS | {"checkpoint"},
    "prediction.dispersion": BASE
    | {"representation", "qc", "checkpoint", "prediction.crystals", "prediction.energy_baseline"},
    "prediction.domain": BASE | {"representation", "checkpoint", "nn", "prediction.environments"},
    "prediction.environments": {"representation", "checkpoint"},
    "prediction.electronic": BASE | COLUMNS | {"checkpoint", "prediction.energy_baseline"},
    "prediction.energy_baseline": BASE | {"representation", "qc", "checkpoint"},
    "prediction.guess": BASE | {"electronic", "prediction.domain"},
    "prediction.hessian": BASE | COLUMNS | {"prediction.electronic"},
    "prediction.batch_engine": BASE
    | COLUMNS
    | {"checkpoint", "prediction.dispersion", "prediction.domain", "prediction.electronic"}
    | {"prediction.verdict"},
    "prediction.infrared": BASE,
    "prediction.many": BASE | {"checkpoint", "prediction.batch_engine"},
    "prediction.refinement": BASE | COLUMNS | {"prediction.electronic"},
    "prediction.verdict": {"representation", "checkpoint", "prediction.domain"},
    "calculator": {"calculator.helm"},
    "calculator.computation": BASE | COLUMNS | {"checkpoint", "prediction", "calculator.keywords"},
    "calculator.copies": {"errors", "checkpoint", "system"},
    "calculator.trust_getters": BASE
    | {"representation", "prediction.domain", "prediction.verdict", "prediction.electronic"}
    | {"calculator.copies"},
    "calculator.keywords": BASE | {"representation.charge_state"},
    "calculator.crystal_getters": BASE
    | COLUMNS
    | {"checkpoint", "prediction.crystals", "prediction.dispersion", "prediction.domain"}
    | {"prediction.electronic", "calculator.copies"},
    "calculator.electronic_getters": BASE
    | COLUMNS
    | {"prediction.electronic", "prediction.guess", "prediction.refinement"}
    | {"prediction.self_consistency"},
    "calculator.torch_sim_model": BASE | {"checkpoint", "prediction.batch_engine"},
    "calculator.vibration_getters": BASE
    | {"representation", "nn", "qc", "checkpoint", "prediction.domain", "prediction.hessian"}
    | {"prediction.batch_engine", "prediction.infrared"},
    "calculator.committee": {"errors", "calculator.helm", "representation.level"},
    "cli.bands": BASE
    | {"representation", "electronic", "labels.deeph", "labels.wannier90"}
    | {"calculator", "pictures", "cli.number_types", "cli.structure_options"},
    "cli.calibrate": BASE
    | {"representation", "checkpoint", "labels", "evaluation", "cli.number_types"}
    | {"prediction.self_consistency"},
    "cli.crystal_output": BASE | {"pictures"},
    "cli.frame_commands": BASE
    | {"representation", "prediction.dispersion", "prediction.batch_engine", "prediction.many"}
    | {"prediction.verdict"},
    "cli.structure_commands": BASE
    | {"representation", "calculator", "pictures", "cli.crystal_output", "cli.dynamics", "cli.watch"}
    | {"prediction.dispersion", "prediction.domain", "prediction.infrared", "prediction.verdict"},
    "cli.watch": BASE | {"prediction.verdict"},
}
"""Module → what it may import, its own package included, where that is not what its package may."""

ONLY_IN = {
    "pyscf": {"qc"},
    "h5py": {"labels"},
    "e3nn": {"nn"},
    "pooch": {"checkpoint"},
    "safetensors": {"checkpoint"},
    "sqlite3": {"system"},
    "lmdb": {"labels"},
    "rdkit": {"sampling"},
    "tblite": {"qc", "sampling"},
    "dftd3": {"qc"},
    "torch_sim": {"calculator"},
    "distributed": {"labelling"},
    "umap": {"evaluation"},
    "plotly": {"pictures"},
    "skimage": {"pictures"},
    "lightning": {"training"},
    "pydantic": {"training"},
    "yaml": {"training"},
}
"""Third-party package → the only parts that may import it."""


LOADERS = {"import_module", "load"}
"""Functions that import what they are given the name of."""


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf8"))


@cache
def modules():
    """Dotted name below ``helm_ase`` → file; the package itself is the empty name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    return found


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(node, lazy):
    """Statements of a module; those inside functions only with ``lazy``, those for type checkers never."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child) or (
            not lazy and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            continue
        yield child
        yield from statements(child, lazy)


@cache
def imports(path, lazy=True):
    """Absolute dotted names a module imports; ``from a import b`` counts as a.b where that is a module."""
    found = set()
    for node in statements(tree(path), lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {f"helm_ase.{name}" if name else "helm_ase" for name in modules()}
            found |= (below & known) or {node.module}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in LOADERS:
            found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return found


def inside(names):
    """Of imported names, those below ``helm_ase``, without that prefix."""
    return {n.removeprefix("helm_ase").removeprefix(".") for n in names if n.split(".")[0] == "helm_ase"}


def part(module):
    return module.split(".")[0]


def test_every_part_of_the_package_has_its_place_in_the_table():
    assert {part(m) for m in modules()} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_layers_below_it(module):
    allowed = SINGLE.get(module, MAY_IMPORT[part(module)] | {part(module)})
    assert {i for i in inside(imports(modules()[module])) if not {i, part(i)} & allowed} == set()


def test_the_table_itself_has_no_cycles_and_keeps_siblings_apart():
    below = {name: {part(i) for i in allowed} - {""} for name, allowed in MAY_IMPORT.items()}
    for module, allowed in SINGLE.items():
        assert module in modules()
        below[part(module)] |= {part(i) for i in allowed} - {part(module)}
    assert not any(below[a] & (SIBLINGS - {a}) for a in SIBLINGS)
    done = set()
    while free := {n for n in below if n not in done and below[n] <= done}:
        done |= free
    assert done == set(below)


def test_modules_do_not_import_each_other_in_circles():
    graph = {m: inside(imports(p, lazy=False)) & set(modules()) - {m} for m, p in modules().items()}
    done = set()
    while free := {m for m in graph if m not in done and graph[m] <= done}:
        done |= free
    assert set(graph) - done == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library):
    users = {m for m, p in modules().items() if library in {i.split(".")[0] for i in imports(p)}}
    assert users, f"nobody imports {library}: drop the dependency or the rule"
    assert {part(m) for m in users} <= ONLY_IN[library]


@pytest.mark.parametrize("forbidden", ["ase.calculators", "pyscf", "h5py", "matplotlib"])
def test_the_network_knows_neither_calculators_nor_integrals_nor_files(forbidden):
    for module, path in modules().items():
        if part(module) in {"nn", "electronic"}:
            assert not any(f"{i}.".startswith(f"{forbidden}.") for i in imports(path)), module


def test_the_reader_of_imports_sees_what_is_there():
    """Guards the tests above: a parser that found nothing would let everything pass."""
    assert "torch" in imports(ROOT / "nn" / "so2.py")
    assert "pyscf" in {i.split(".")[0] for i in imports(ROOT / "qc" / "level.py")}
    assert "pyscf" not in {i.split(".")[0] for i in imports(ROOT / "qc" / "level.py", lazy=False)}
    assert "qc.molecule" in inside(imports(ROOT / "prediction" / "electronic.py"))
    assert inside(imports(ROOT / "__init__.py")) == set()


# --- the listing and the tests ---------------------------------------------------------------------


def test_the_listing_in_contributing_is_true_and_fits_one_screen():
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf8")
    lines = text.split("```text\n", 1)[1].split("```", 1)[0].splitlines()
    listed, name = {}, ""
    for line in lines:
        if line.startswith(" "):
            listed[name] |= set(line.replace("/", "").split())
        else:
            name = line.split()[0]
            listed[name] = set()
    there = {part(m): set() for m in modules() if m}
    for module in modules():
        if "." in module:
            there[part(module)].add(module.split(".")[1])
    there["cli"].remove("__main__")
    assert listed == there
    assert len(lines) <= 50


def test_folders_of_tests_mirror_the_package():
    folders = {
        path.parent.relative_to(CHECKOUT / "tests") for path in (CHECKOUT / "tests").rglob("test_*.py")
    }
    ours = {"/".join(f.parts) for f in folders} - {"", "benchmarks", "clients", "documentation", "hostile"}
    assert {name for name in ours if not (ROOT / name / "__init__.py").is_file()} == set()
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        f.parts[0] for f in folders if f.parts
    } == set()


# --- cost of importing --------------------------------------------------------------------------------

PROBE = """
import sys, time
start = time.process_time()
import helm_ase
print(time.process_time() - start)
print(" ".join(sys.modules))
"""
"""Processor time: on a busy machine the clock on the wall says nothing about the package."""


def test_importing_the_package_takes_at_most_300_ms_of_work_and_loads_none_of_its_heavy_parts():
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, cwd=ROOT.parent
        )
        seconds, loaded = done.stdout.split("\n", 1)
        runs.append(float(seconds))
    heavy = {"torch", "pyscf", "e3nn", "ase", "scipy", "h5py", "matplotlib", "torch_geometric", "distributed"}
    assert heavy & set(loaded.split()) == set()
    assert min(runs) <= 0.3


def test_a_calculator_loads_neither_what_trains_nor_what_draws_nor_what_labels():
    """How long it takes is measured in ``calculator/test_ase.py`` with ``-m slow``."""
    seen, waiting = set(), ["calculator.helm"]
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting += inside(imports(modules()[module], lazy=False)) & set(modules()) - seen
    assert {"nn.model", "prediction.electronic", "checkpoint.format"} <= seen
    names = {i for module in seen for i in imports(modules()[module], lazy=False)}
    loaded = {i.split(".")[0] for i in names}
    assert {"torch", "ase"} <= loaded
    assert not [
        i for i in names if f"{i}.".startswith(("pyscf.dft.", "ase.vibrations.", "ase.thermochemistry."))
    ]
    heavy = {"lightning", "pydantic", "yaml", "matplotlib", "plotly", "skimage", "rdkit", "tblite", "dftd3"}
    assert loaded & (heavy | {"distributed", "umap"}) == set()


HELP = """
import sys
from helm_ase.cli import main
try:
    main(["--help"])
except SystemExit:
    print(" ".join(sys.modules), file=sys.stderr)
"""


def test_the_help_of_the_command_line_loads_none_of_the_heavy_parts():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert "usage: helm-ase" in done.stdout
    assert {"torch", "pyscf", "e3nn", "ase", "numpy", "h5py", "matplotlib"} & set(
        done.stderr.split()
    ) == set()
    assert "argparse" in done.stderr.split()


def test_commands_import_by_statements_that_editors_and_type_checkers_see():
    for module, path in modules().items():
        if part(module) == "cli":
            assert "importlib" not in {i.split(".")[0] for i in imports(path)}, module


def test_public_names_exist_and_others_do_not():
    for name in helm_ase.__all__:
        assert getattr(helm_ase, name).__name__ == name
        assert name in dir(helm_ase)
    with pytest.raises(AttributeError, match="no attribute 'Calculator'"):
        helm_ase.Calculator  # noqa: B018


# --- size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", modules())
def test_a_module_has_at_most_350_lines(module):
    assert len(modules()[module].read_text(encoding="utf8").splitlines()) <= 350


def functions():
    for module, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.name}", node


def lines_without_docstring(node):
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        doc = node.body[0]
        lines -= doc.end_lineno - doc.lineno + 1
    return lines


def test_a_function_has_at_most_45_lines_besides_its_docstring():
    long = {name: n for name, node in functions() if (n := lines_without_docstring(node)) > 45}
    assert long == {}
