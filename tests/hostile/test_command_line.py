"""Arguments that make no sense, outputs that cannot be written: one line, an exit code, and nothing lost."""

import argparse

import h5py
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write as write_structure

from helm_ase.checkpoint import save_checkpoint
from helm_ase.cli import _parser
from shared.bounded_process import readable
from shared.small_checkpoints import tiny_checkpoint
from shared.stored_labels import invented, write

# --- numbers of every option ------------------------------------------------------------------------


def commands(parser, name=()):
    """Every command with its parser."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield name, parser
    for action in inner:
        for word, below in action.choices.items():
            yield from commands(below, (*name, word))


PARSER = _parser()


def number_options():
    """Command and option of everything that takes a number."""
    for words, parser in commands(PARSER):
        for action in parser._actions:
            if action.type is not None and action.option_strings:
                yield f"{' '.join(words)} {action.option_strings[-1]}", words, action


OPTIONS = {name: (words, action) for name, words, action in number_options()}
NONSENSE = ("nan", "inf", "1e400", "", "one", "1,5", "0x10", "1e13", "\x1b[2J")
SIGNED = {"--charge", "--window"}
ZERO_IS_FINE = {
    "--charge", "--seed", "--md", "--temperature", "--temperatures", "--md-steps", "--displacements",
    "--dimers", "--dimer-heavy-atoms", "--dimer-relax-steps", "--duplicate-tolerance", "--rebuild", "--val",
    "--test", "--scf", "--smearing", "--window", "--refine", "--stability-gap",
    "--max-spin-contamination", "--grid", "--min-gap", "--distortions", "--strain", "--rattle",
    "--fock",
}  # fmt: skip


def said_of(words, option, value, count, capsys):
    with pytest.raises(SystemExit) as ended:
        PARSER.parse_args([*words, option, *[value] * count])
    assert ended.value.code == 2
    return readable(capsys.readouterr().err)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_number_is_finite_and_within_what_makes_sense(name, capsys):
    words, action = OPTIONS[name]
    option = action.option_strings[-1]
    count = action.nargs if isinstance(action.nargs, int) else 1
    refused = [*NONSENSE, *(["-1", "-0.5"] if option not in SIGNED else []),
               *(["0"] if option not in ZERO_IS_FINE else [])]  # fmt: skip
    for value in refused:
        said = said_of(words, option, value, count, capsys)
        assert len(said.splitlines()) == 1
        assert option in said, (value, said)


def test_no_option_takes_a_bare_number():
    bare = [name for name, _, action in number_options() if action.type in (int, float)]
    assert bare == []
    assert len(OPTIONS) > 40


# --- files and words --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_structure(folder / "water.xyz", molecule("H2O"))
    write_structure(folder / "two.xyz", [molecule("H2O"), molecule("CH4")])
    write_structure(folder / "gold.xyz", Atoms("AuH", [[0, 0, 0], [0, 0, 1.5]]))
    (folder / "empty.xyz").write_text("")
    (folder / "bad.smi").write_text("CC\nC(C\nnonsense\n[Fe\n")
    (folder / "only_bad.smi").write_text("C(C\nnonsense\n")
    (folder / "a_folder").mkdir()
    (folder / "recipe.yaml").write_text("data: {train: [absent.h5]}\n")
    save_checkpoint(tiny_checkpoint(), folder / "tiny.safetensors")
    write(folder / "labels.h5", [invented(k, kind) for k, kind in enumerate(("O", "C", "CO", "[H][H]"))])
    (folder / "cut.h5").write_bytes((folder / "labels.h5").read_bytes()[:3000])
    return folder


LINES = {
    "run: nothing there": ("run absent.xyz", "no file"),
    "run: a folder": ("run a_folder", "a_folder"),
    "run: a device": ("run /dev/zero", "device"),
    "run: an empty file": ("run empty.xyz", "empty.xyz"),
    "run: labels": ("run labels.h5", "labels.h5"),
    "run: NUL": (["run", "a\0b.xyz"], "NUL"),
    "run: NUL in an output": (["run", "water.xyz", "-o", "a\0b.xyz"], "NUL"),
    "run: a name of five thousand letters": (["run", "x" * 5000], "name too long|no file"),
    "run: a name that is no text": (["run", "\udcff.xyz"], "no file"),
    "run: escapes": (["run", "\x1b[2J.xyz"], "no file"),
    "run: a frame that is not there": ("run two.xyz@9", "none of them|frames"),
    "run: a frame in words": ("run two.xyz@last", "two.xyz"),
    "run: all frames where one is needed": ("run two.xyz@:", "name one"),
    "run: an element that is unknown": ("run gold.xyz", "Au"),
    "run: a charge that is unknown": ("run water.xyz --charge 7", "charge"),
    "run: an impossible multiplicity": ("run water.xyz --multiplicity 2", "multiplicity"),
    "run: an unknown model": ("run water.xyz --model helm-hcnof-9", "did you mean"),
    "run: a model that is a structure": ("run water.xyz --model two.xyz", "not a readable"),
    "run: an unknown device": ("run water.xyz --device abacus", "abacus"),
    "run: an unknown precision": ("run water.xyz --dtype float7", "float7"),
    "run: output in no folder": ("run water.xyz -o no/x.xyz", "no folder"),
    "run: output in an unknown format": ("run water.xyz -o x.docx", "no format"),
    "run: levels in an unknown format": ("run water.xyz --levels x.docx", "docx"),
    "run: trajectory of nothing": ("run water.xyz --trajectory x.traj", "--opt or --md"),
    "run: trajectory in another format": ("run water.xyz --md 5 --trajectory x.xyz", ".traj"),
    "run: all frames and dynamics": ("run two.xyz --all-frames --md 5", "--md is for one"),
    "run: output over the input": ("run water.xyz -o water.xyz", "also read"),
    "run: output over a folder": ("run two.xyz --all-frames -o a_folder", "a_folder"),
    "report: nothing there": ("report absent.xyz", "no file"),
    "report: in no folder": ("report water.xyz -o no/x.html", "no folder"),
    "report: over the input": ("report water.xyz -o water.xyz", "also read"),
    "label: nothing there": ("label absent.xyz -o x.h5", "absent.xyz"),
    "label: SMILES": ("label bad.smi -o x.h5", "helm-ase sample"),
    "label: output of another kind": ("label water.xyz -o x.txt", "end the name in .h5"),
    "label: an unknown functional": ("label water.xyz -o x.h5 --xc magic", "magic"),
    "label: an unknown basis": ("label water.xyz -o x.h5 --basis magic", "magic"),
    "label: a basis that is a path": ("label water.xyz -o x.h5 --basis /etc/passwd", "passwd"),
    "label: over the input": ("label water.xyz -o water.xyz", "also read"),
    "label: two frames of one name": ("label water.xyz water.xyz -o x.h5", "both named"),
    "label: an unknown batch system": ("label water.xyz -o x.h5 --batch-system abacus", "abacus"),
    "sample: nothing given": ("sample -o x.xyz", "no molecules"),
    "sample: nothing there": ("sample absent.smi -o x.xyz", "no such file"),
    "sample: only nonsense": ("sample only_bad.smi -o x.xyz", "all 2 entries were skipped"),
    "sample: output that is there": ("sample --smiles C -o two.xyz", "--force"),
    "sample: output of another kind": ("sample --smiles C -o x.txt", "end the name in .xyz"),
    "sample: a charge against the SMILES": ("sample --smiles C --charge 1 -o x.xyz", "charge 0"),
    "sample: an odd multiplicity": ("sample --smiles C --multiplicity 2 -o x.xyz", "multipl"),
    "sample: a vertical state of another kind": ("sample --smiles C --vertical up -o x.xyz", "up"),
    "sample: a contact that falls": ("sample --smiles C --contact 3 2 -o x.xyz", "rise"),
    "info: nothing there": ("info absent", "neither a model"),
    "info: labels": ("info labels.h5", "not a readable"),
    "info: a folder": ("info a_folder", "neither a model"),
    "publish: a name with a folder": ("publish tiny.safetensors new ../x", "letters, digits"),
    "publish: labels": ("publish labels.h5 new x", "not a readable"),
    "download: an unknown name": ("download absent", "neither a model"),
    "data info: nothing": ("data info", "name a file"),
    "data info: nothing there": ("data info absent.h5", "does not exist"),
    "data info: cut short": ("data info cut.h5", "cut.h5"),
    "data info: an unknown format": ("data info labels.h5 --format magic", "known formats"),
    "data info: an option without value": ("data info labels.h5 --option basis", "KEY=VALUE"),
    "data info: an unknown option": ("data info labels.h5 --option magic=1", "no option"),
    "data info: an unknown level": ("data info labels.h5 --level magic=1", "magic"),
    "data check: nothing there": ("data check absent.h5", "does not exist"),
    "data convert: output that is there": ("data convert labels.h5 cut.h5", "--force"),
    "data convert: over the input": ("data convert labels.h5 labels.h5 --force", "also read"),
    "data convert: output of another kind": ("data convert labels.h5 x.txt", "end the name in .h5"),
    "data merge: one that is cut": ("data merge labels.h5 cut.h5 -o x.h5", "cut.h5"),
    "data split: an unknown rule": ("data split labels.h5 -o x --by magic", "allowed"),
    "data split: shares of one": ("data split labels.h5 -o x --val 0.6 --test 0.6", "sum"),
    "data split: shares, recorded": ("data split labels.h5 -o x --by recorded --val 0.1", "leave them out"),
    "data split: an official one": ("data split labels.h5 -o x --by official:a", "no split"),
    "train: nothing": ("train", "needs a recipe"),
    "train: nothing there": ("train absent.yaml", "absent.yaml"),
    "train: labels": ("train labels.h5", "labels.h5"),
    "train: labels that are not there": ("train recipe.yaml", "absent.h5"),
    "evaluate: nothing there": ("evaluate tiny.safetensors absent.h5", "does not exist"),
    "evaluate: an unknown model": ("evaluate absent labels.h5", "neither a model"),
    "embed: into a file": ("embed tiny.safetensors labels.h5 -o two.xyz --no-umap", "is a file"),
    "calibrate: nothing there": ("calibrate tiny.safetensors absent.h5", "does not exist"),
    "nothing at all": ([], "COMMAND"),
    "an unknown command": ("compute", "compute"),
    "an unknown option": ("run water.xyz --magic", "--magic"),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_cannot_be_done_is_answered_in_words(name, made, bounded):
    arguments, words = LINES[name]
    arguments = arguments.split() if isinstance(arguments, str) else arguments
    before = {p.name: p.read_bytes() for p in made.iterdir() if p.is_file()}
    outcome = bounded.ask("command", arguments, made)
    assert outcome.kind == "answer", outcome
    code, _, err = outcome.value
    assert code in (1, 2)
    assert any(word in readable(err) for word in words.split("|")), err
    assert {p.name: p.read_bytes() for p in made.iterdir() if p.is_file()} == before


ENVIRONMENTS = {
    "MPLBACKEND that is none": {"MPLBACKEND": "nonsense"},
    "MPLBACKEND of windows": {"MPLBACKEND": "tkagg"},
    "HELM_OFFLINE in words": {"HELM_OFFLINE": "perhaps"},
    "HELM_CACHE_DIR that is a device": {"HELM_CACHE_DIR": "/dev/null/x"},
    "no home": {"HOME": "/nonexistent"},
    "COLUMNS of nonsense": {"COLUMNS": "many"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_strange_environment_does_not_matter(name, made, tmp_path, bounded):
    arguments = ["run", made / "water.xyz", "--levels", "x.png"]
    outcome = bounded.ask("command", arguments, tmp_path, ENVIRONMENTS[name])
    assert outcome.kind == "answer", outcome
    assert outcome.value[0] == 0, outcome.value[2]
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


# --- a disk that is full ------------------------------------------------------------------------------

FULL = {
    "data convert": ("data convert {made}/labels.h5 out.h5 --force", "out.h5", 3000),
    "data merge": ("data merge {made}/labels.h5 -o out.h5 --force", "out.h5", 3000),
    "data convert, almost": ("data convert {made}/labels.h5 out.h5 --force", "out.h5", 20000),
    "data split": ("data split {made}/labels.h5 -o out --by frame --val 0.3 --force",
                   "out.train.h5", 3000),
    "run -o": ("run {made}/water.xyz --no-orbitals -o out.xyz", "out.xyz", 10),
    "run --levels": ("run {made}/water.xyz --levels out.png", "out.png", 100),
    "run --trajectory": ("run {made}/water.xyz --md 3 --trajectory out.traj --no-orbitals", "", 50),
    "run --all-frames": ("run {made}/two.xyz --all-frames -o out.xyz", "out.xyz", 10),
    "report": ("report {made}/water.xyz -o out.html --no-check", "out.html", 1000),
    "publish": ("publish {made}/tiny.safetensors . new", "", 1000),
}  # fmt: skip


@pytest.mark.parametrize("name", FULL)
def test_on_a_full_disk_the_old_file_stays_and_one_sentence_says_why(name, made, tmp_path, bounded):
    arguments, output, room = FULL[name]
    if output:
        (tmp_path / output).write_bytes(b"older")
    arguments = arguments.format(made=made).split()
    outcome = bounded.ask("command", arguments, tmp_path, largest_file=room)
    assert outcome.kind == "answer", outcome
    code, _, err = outcome.value
    assert code == 1
    assert "File too large" in readable(err.replace("\r", "\n").splitlines()[-1])
    if output:
        assert (tmp_path / output).read_bytes() == b"older"
    left = {p.name for p in tmp_path.rglob("*") if p.is_file()} - {output, "out.traj"}
    assert left == set()


def test_the_same_commands_do_their_work_where_there_is_room(made, tmp_path, bounded):
    for name in ("data convert", "data split", "publish"):
        arguments = FULL[name][0].format(made=made).split()
        assert bounded.ask("command", arguments, tmp_path).value[0] == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert len(file["key"]) == 4


CASES = [*OPTIONS, *LINES, *ENVIRONMENTS, *(f"full disk: {f}" for f in FULL)]
