"""Verdict on a prediction (trusted, extrapolating or refused) with the numbers that it is based on."""

from dataclasses import dataclass
from enum import StrEnum

from helm_ase.prediction.domain import CLOSED_SHELL, Extrapolation, Uncertainty
from helm_ase.representation.charge_state import ChargeState
from helm_ase.representation.coverage import describe

REMAINING = 1e-3
"""Largest change by the last SCF step, in eV/atom, for which a refined energy counts as converged."""
SMALLEST_GAP = 1.0
"""HOMO–LUMO gap in eV below which one determinant may not describe the ground state of a molecule."""


class Trust(StrEnum):
    """Degree to which a result can be trusted."""

    TRUSTED = "trusted"
    """The error is expected to be that on unseen molecules of the kind in training."""
    EXTRAPOLATING = "extrapolating"
    """Something did not occur in training; the error may be many times larger."""
    REFUSED = "refused"
    """Bonds are broken, or atoms have collapsed: the results are meaningless."""


@dataclass(frozen=True)
class Verdict:
    """Verdict on a prediction, and the reasons for it."""

    trust: Trust
    reasons: tuple[str, ...] = ()
    """Reasons in words, each with its number; empty for what is trusted."""
    evidence: str = ""
    """Error bar or, for a refined energy, the change by its last SCF step, with the threshold."""
    note: str = ""
    """Remark on the limits of single-determinant methods, where these are the reason."""
    error_bar: float | None = None
    """Expected error of the energy, eV/atom; None without one."""
    threshold: float | None = None
    """Error bar in eV/atom above which the answer is extrapolation."""

    def __str__(self) -> str:
        """Verdict and reasons in one line."""
        shown = "; ".join(self.reasons[:3]) + ("; …" if len(self.reasons) > 3 else "")
        words = "; ".join(filter(None, (shown, self.note, self.evidence)))
        return f"{self.trust}: {words}" if words else str(self.trust)


def judge(
    extrapolation: Extrapolation,
    state: ChargeState,
    bar: Uncertainty | None = None,
    last_change: float | None = None,
    gap: float | None = None,
) -> Verdict:
    """Verdict on what a model says about a molecule.

    Parameters
    ----------
    extrapolation
        Features of the geometry that did not occur in training, by
        :func:`helm_ase.prediction.domain.extrapolation_of`.
    state
        Charge and multiplicity.
    bar
        Error bar of the model's energy, if it has one.
    last_change
        Change of a refined energy by the last SCF step, eV/atom.  If given, it replaces the error bar and the
        check of distances, which concern the network only.
    gap
        LUMO − HOMO, eV, if it is known.
    """
    broken = tuple(fault.text for fault in extrapolation.faults if fault.broken)
    evidence, size, limit, high = _numbers(bar, last_change)
    if broken:
        note = CLOSED_SHELL if state.multiplicity == 1 else ""
        return Verdict(Trust.REFUSED, broken, evidence, note, size, limit)
    doubts = [] if gap is None or gap >= SMALLEST_GAP else [_small_gap(gap)]
    if last_change is None:
        doubts += [fault.text for fault in extrapolation.faults]
        if extrapolation.distances:
            doubts.append(f"{describe(extrapolation.distances)}, never seen in training")
    trust = Trust.EXTRAPOLATING if doubts or high else Trust.TRUSTED
    return Verdict(trust, tuple(doubts), evidence, "", size, limit)


def _numbers(
    bar: Uncertainty | None, last_change: float | None
) -> tuple[str, float | None, float | None, bool]:
    """In words, the number behind a verdict, its limit (eV/atom), and whether it is above it."""
    if last_change is not None:
        high = last_change > REMAINING
        text = f"the last SCF step changed the energy by {1e3 * last_change:.2f} meV/atom"
        return text + (", more than the 1 of a converged one" if high else ""), last_change, REMAINING, high
    if bar is None:
        return "", None, None, False
    high = bar.per_atom > bar.threshold
    text = f"error bar {1e3 * bar.per_atom:.1f} meV/atom"
    known = f"the model's limit of {1e3 * bar.threshold:.1f}"
    text += f", above {known}: the true error may be many times larger" if high else f", below {known}"
    return text, bar.per_atom, bar.threshold, high


def _small_gap(gap: float) -> str:
    return f"gap of {gap:.2f} eV: the ground state may be more than one determinant"
