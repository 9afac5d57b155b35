"""Study 7, large: a peptide of 139 atoms in def2-TZVPD on one core.

    OMP_NUM_THREADS=1 python large.py                     # network of default size, random weights
    OMP_NUM_THREADS=1 python large.py MODEL.safetensors   # what elements.py has trained

The peptide is Gly-Ala-Val-Leu-Ser-Thr-Asn-Phe-Gly-Gly-Ser as RDKit embeds it.  Printed are processor time and
peak memory, libraries included, of the network's Hamiltonian, which needs neither overlap nor H0, and of
energy and forces.  Of a trained model also HOMO, LUMO and the spread of all levels of H0 alone and of H: a
ghost would be a LUMO far below that of H0, or a level below the 1s of oxygen.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from ase import Atoms
from molecules import entries
from rdkit import Chem
from rdkit.Chem import AllChem

from helm_ase.checkpoint import Checkpoint, load_model
from helm_ase.nn import HELM, BackboneSettings, HELMSettings
from helm_ase.prediction.electronic import finish_electronic_structure, make_graph, predict_energy
from helm_ase.qc.molecule import ao_basis
from helm_ase.representation.charge_state import ChargeState
from helm_ase.units import HARTREE_IN_EV

SEQUENCE, BASIS, NEUTRAL = "GAVLSTNFGGS", "def2-tzvpd", ChargeState(0, 1)


def peptide() -> Atoms:
    """The molecule, 139 atoms."""
    made = Chem.AddHs(Chem.MolFromSequence(SEQUENCE))
    AllChem.EmbedMolecule(made, randomSeed=0)
    AllChem.MMFFOptimizeMolecule(made, maxIters=2000)
    return Atoms([a.GetSymbol() for a in made.GetAtoms()], made.GetConformer().GetPositions())


def random_model() -> HELM:
    """Network of default width for the elements of the study."""
    elements = sorted({Atoms(element).numbers[0] for element, _, _ in entries()})
    torch.manual_seed(0)
    return HELM(ao_basis(BASIS, elements), HELMSettings(BackboneSettings(lmax=6))).eval()


def show(what: str, work: Callable[[], Any]) -> Any:
    """Run, and print what it took."""
    begin = time.process_time()
    answer = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: {time.process_time() - begin:.1f} CPU s, peak so far {peak:.2f} GB", flush=True)
    return answer


def show_levels(checkpoint: Checkpoint, atoms: Atoms, correction: torch.Tensor) -> None:
    """Levels of H0 alone and of H."""
    for name, output in (("H0", torch.zeros_like(correction)), ("H", correction)):

        def solve(output: torch.Tensor = output) -> Any:
            return finish_electronic_structure(checkpoint.model, checkpoint, atoms, NEUTRAL, output)

        structure = show(f"S, H0 and levels of {name}", solve).structure
        lowest, highest = structure.orbital_energies.flatten()[[0, -1]].tolist()
        frontier = (x * HARTREE_IN_EV for x in (structure.homo, structure.lumo))
        print(
            f"  HOMO {{:.2f}}, LUMO {{:.2f}} eV; all from {lowest:.2f} to {highest:.1f} Eh".format(*frontier)
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", metavar="MODEL.safetensors")
    options = parser.parse_args()
    torch.set_num_threads(1)
    atoms, checkpoint = peptide(), load_model(options.model) if options.model else None
    model = checkpoint.model if checkpoint else random_model()
    million = sum(p.numel() for p in model.parameters()) / 1e6
    functions = model.basis.size(atoms.numbers)
    print(f"{len(atoms)} atoms, {functions} functions, {million:.1f} million parameters")
    graph = make_graph(model, atoms, NEUTRAL)
    with torch.no_grad():
        out = show("H of the network", lambda: model(graph, energy=False, hamiltonian=True))
    if checkpoint:
        show_levels(checkpoint, atoms, out.correction[0])
    else:
        show("energy and forces of the network", lambda: predict_energy(model, atoms, NEUTRAL, True))
