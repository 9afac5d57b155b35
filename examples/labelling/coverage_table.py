"""What a set of labels covers: elements and charges, functional groups, rings, sizes; a Markdown table.

    python coverage_table.py LABELS.h5 [LABELS.h5 ...] [--split train] [-o coverage.md]

Counts are of labels (geometries) and of molecules (different SMILES).  A label without SMILES, or with one
that RDKit cannot read, counts in the tables of elements and sizes only; how many there are is said.  A group
that no molecule has is listed with 0: a gap is to be seen.  Needs pip install 'helm-ase[label]'.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase.data import chemical_symbols
from rdkit import Chem, RDLogger

from helm_ase.labels.formats import open_labels
from helm_ase.representation import LabelledMolecule

GROUPS = {
    "alkene": "[CX3]=[CX3]", "alkyne": "C#C", "allene": "C=C=C", "benzene ring": "c1ccccc1",
    "phenol": "c[OX2H]", "aniline": "c[NX3;H2,H1]", "alcohol": "[CX4][OX2H]", "ether": "[#6][OX2][#6]",
    "epoxide": "C1OC1", "peroxide": "[OX2][OX2]", "aldehyde": "[CX3H1]=O", "ketone": "[#6][CX3](=O)[#6]",
    "carboxylic acid": "C(=O)[OX2H]", "carboxylate": "C(=O)[O-]",
    "ester": "C(=O)O[#6]", "anhydride": "C(=O)OC=O",
    "amide": "C(=O)[NX3]", "urea": "NC(=O)N", "carbamate": "OC(=O)N", "imide": "C(=O)NC(=O)",
    "acyl halide": "C(=O)[F,Cl,Br,I]", "amine": "[NX3;!$(N-C=[O,S,N]);!$(N~[O,S,P])][CX4]",
    "ammonium": "[NX4+]", "imine": "[CX3]=[NX2]", "amidine": "[NX3]C=[NX2]", "guanidine": "NC(=N)N",
    "oxime": "C=N[OX2]", "hydrazine": "[NX3][NX3]", "hydrazone": "C=N[NX3]", "azo": "[#6]N=N[#6]",
    "diazo": "[#6]=[N+]=[N-]", "azide": "N=[N+]=[N-]", "nitrile": "C#[NX1]", "isonitrile": "[#6][N+]#[C-]",
    "isocyanate": "N=C=O", "isothiocyanate": "N=C=S", "nitro": "[N+](=O)[O-]", "nitroso": "[#6]N=O",
    "N-oxide": "[#7+][O-;!$(O[N+]=O)]", "nitrate": "O[N+](=O)[O-]", "nitrite": "ON=O",
    "thiol": "[#6][SX2H]", "thioether": "[#6][SX2][#6]", "disulfide": "[SX2][SX2]", "thiocarbonyl": "C=[SX1]",
    "sulfoxide": "[#6][SX3](=O)[#6]", "sulfone": "[#6]S(=O)(=O)[#6]", "sulfonamide": "S(=O)(=O)N",
    "sulfonic acid": "[#6]S(=O)(=O)[OX2,O-]", "sulfate": "OS(=O)(=O)O", "phosphine": "[PX3]",
    "phosphine oxide": "[#6]P(=O)", "phosphate": "OP(=O)(O)O", "phosphonate": "[#6]P(=O)(O)O",
    "silane": "[SiX4]", "siloxane": "[Si]O[Si]", "borane": "[BX3]", "boronic acid": "B([OX2H])[OX2H]",
    "borate": "[BX4-]", "selenide": "[SeX2]", "arsenic compound": "[As]", "fluoride": "[#6]F",
    "chloride": "[#6]Cl",
    "bromide": "[#6]Br", "iodide": "[#6]I", "trifluoromethyl": "C(F)(F)F",
    "hypervalent S, P, halogen": "[SX6,SX5,SX4;!$(S=O)] | [PX5] | [ClX3,BrX3,IX3]",
    "carbocation": "[C+]", "carbanion": "[C-;!$(C#*)]", "alkoxide": "[#6;!$(C=O)][O-]",
    "thiolate": "[#6][S-]",
}  # fmt: skip
"""Name → SMARTS; alternatives are separated by a bar."""

RINGS = {
    "3-ring": "[r3]", "4-ring": "[r4]", "5-ring": "[r5]", "6-ring": "[r6]", "7-ring and larger": "[r{7-}]",
    "furan": "o1cccc1", "pyrrole": "[nH0,nH1]1cccc1", "thiophene": "s1cccc1", "imidazole": "n1cncc1",
    "pyrazole": "n1nccc1", "oxazole, isoxazole": "[$(o1cncc1),$(o1nccc1)]",
    "thiazole, isothiazole": "[$(s1cncc1),$(s1nccc1)]", "triazole": "[$(n1nncc1),$(n1ncnc1)]",
    "tetrazole": "n1nnnc1", "pyridine": "n1ccccc1", "pyridazine": "n1ncccc1", "pyrimidine": "n1cnccc1",
    "pyrazine": "n1ccncc1", "triazine": "[$(n1cncnc1),$(n1ncncc1),$(n1nnccc1)]",
    "fused aromatic rings": "c12aaaac1aaa2 | c12aaaac1aaaa2",
    "fused or bridged atoms": "[x3]", "spiro atom": "[x4]",
}  # fmt: skip
"""Name → SMARTS."""

Row = tuple[str, int, int]
"""Class, labels, molecules."""


@dataclass(frozen=True)
class Member:
    """One label, as far as it matters here."""

    elements: frozenset[int]
    heavy_atoms: int
    charge: int
    multiplicity: int
    smiles: str
    molecule: Chem.Mol | None
    parts: int


def member(label: LabelledMolecule) -> Member:
    """Read the SMILES of a label."""
    numbers = label.numbers.tolist()
    molecule = Chem.MolFromSmiles(label.smiles) if label.smiles else None
    return Member(
        frozenset(numbers), sum(z > 1 for z in numbers), label.charge, label.multiplicity,
        label.smiles or str(sorted(numbers)), molecule, label.smiles.count(".") + 1,
    )  # fmt: skip


def count(name: str, members: Iterable[Member], holds: Callable[[Member], bool]) -> Row:
    """Labels and molecules of one class."""
    inside = [m for m in members if holds(m)]
    return name, len(inside), len({(m.smiles, m.charge, m.multiplicity) for m in inside})


def groups(members: Sequence[Member]) -> list[Row]:
    """Functional groups, and what a pattern of neighbours cannot tell."""
    return [
        *patterns(members, GROUPS),
        count("zwitterion", members, _zwitterion),
        count("radical at carbon", members, lambda m: _radical(m, 6)),
        count("radical at nitrogen", members, lambda m: _radical(m, 7)),
        count("radical at oxygen", members, lambda m: _radical(m, 8)),
    ]


def patterns(members: Sequence[Member], smarts: dict[str, str]) -> list[Row]:
    """Labels and molecules that hold each pattern."""
    rows = []
    for name, text in smarts.items():
        queries = [Chem.MolFromSmarts(t.strip()) for t in text.split("|")]
        rows.append(count(name, members, lambda m, q=queries: _matches(m.molecule, q)))
    return rows


def _radical(member: Member, number: int) -> bool:
    """The SMILES has an unpaired electron at an atom of this element."""
    atoms = () if member.molecule is None else member.molecule.GetAtoms()
    return any(a.GetAtomicNum() == number and a.GetNumRadicalElectrons() for a in atoms)


def _zwitterion(member: Member) -> bool:
    """A part of the molecule has both charges on atoms that are not neighbours."""
    if member.molecule is None:
        return False
    for part in Chem.GetMolFrags(member.molecule, asMols=True, sanitizeFrags=False):
        plus, minus = ([a for a in part.GetAtoms() if s * a.GetFormalCharge() > 0] for s in (1, -1))
        if any(part.GetBondBetweenAtoms(a.GetIdx(), b.GetIdx()) is None for a in plus for b in minus):
            return True
    return False


def _matches(molecule: Chem.Mol | None, queries: Sequence[Chem.Mol]) -> bool:
    return molecule is not None and any(molecule.HasSubstructMatch(q) for q in queries)


def states(members: Sequence[Member]) -> list[Row]:
    """By charge and multiplicity."""
    kinds = sorted({(m.charge, m.multiplicity) for m in members})
    return [
        count(
            f"charge {q:+d}, multiplicity {s}", members, lambda m, k=(q, s): (m.charge, m.multiplicity) == k
        )
        for q, s in kinds
    ]


def elements(members: Sequence[Member]) -> str:
    """Element × charge, numbers of labels."""
    charges = sorted({m.charge for m in members})
    numbers = Counter((z, m.charge) for m in members for z in m.elements)
    opened = Counter(z for m in members if m.multiplicity > 1 for z in m.elements)
    lines = [["element", *(f"charge {q:+d}" for q in charges), "open shell"]]
    for z in sorted({z for m in members for z in m.elements}):
        lines.append([chemical_symbols[z], *(str(numbers[z, q]) for q in charges), str(opened[z])])
    return markdown(lines)


def sizes(members: Sequence[Member]) -> list[Row]:
    """By number of heavy atoms, and of parts."""
    rows = [
        count(f"{n} heavy atoms", members, lambda m, n=n: m.heavy_atoms == n)
        for n in range(max(m.heavy_atoms for m in members) + 1)
    ]
    return [r for r in rows if r[1]] + [count("of two and more molecules", members, lambda m: m.parts > 1)]


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its header."""
    head, *rest = lines
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rest])


def table(title: str, rows: Iterable[Row]) -> str:
    """Classes with their numbers of labels and molecules."""
    return f"### {title}\n\n" + markdown(
        [["", "labels", "molecules"], *([name, str(a), str(b)] for name, a, b in rows)]
    )


def report(members: Sequence[Member]) -> str:
    """All tables."""
    unread = sum(m.molecule is None for m in members)
    total = count("", members, lambda m: True)
    return "\n\n".join(
        [
            f"{total[1]} labels of {total[2]} molecules (different SMILES, charge or multiplicity); {unread} "
            "without a SMILES that RDKit reads.",
            "### Elements\n\n" + elements(members),
            table("Charge and multiplicity", states(members)),
            table("Functional groups", groups(members)),
            table("Rings", patterns(members, RINGS)),
            table("Size", sizes(members)),
        ]
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", nargs="+", type=Path)
    parser.add_argument("--split", default="train", help="which labels count (default: train)")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    members = []
    for path in options.labels:
        with open_labels(path) as source:
            members += [member(source[k]) for k in range(len(source)) if source.split_of(k) == options.split]
    if not members:
        parser.error(f"no label of split {options.split!r} in {', '.join(map(str, options.labels))}")
    text = report(members) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf8")
    else:
        print(text)


if __name__ == "__main__":
    main()
