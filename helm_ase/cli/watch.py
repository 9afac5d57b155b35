"""Verdicts at the command line: printing them, and stopping a run when the model is no longer reliable."""

from typing import TYPE_CHECKING

from helm_ase.errors import ExtrapolationError
from helm_ase.prediction.verdict import Trust, Verdict

if TYPE_CHECKING:
    from ase import Atoms
    from ase.io.trajectory import TrajectoryWriter

OUT_OF_BOUNDS = 5.0
"""Factor by which an error bar may exceed both its threshold and its initial value before a run is
stopped."""
WAY_OUT = "--allow-extrapolation goes on"


def check_trust(verdict: Verdict, allow: bool) -> None:
    """Print a verdict, or raise an error if the results would be meaningless.

    Raises
    ------
    ExtrapolationError
        If the verdict is ``refused`` and that is not allowed.
    """
    if verdict.trust == Trust.REFUSED and not allow:
        raise ExtrapolationError(f"{verdict}; {WAY_OUT}")
    print(f"verdict  {verdict}")


class Watch:
    """Observer that stops an optimisation or dynamics when the model is no longer reliable.

    Parameters
    ----------
    atoms
        What moves, with its calculator.
    frames
        Where the last geometry is to be written before the end; None: nowhere.
    allow
        Go on whatever happens.

    Raises
    ------
    ExtrapolationError
        When it is called: if a bond is broken, or the error bar is far out of bounds.
    """

    def __init__(self, atoms: "Atoms", frames: "TrajectoryWriter | None", allow: bool) -> None:
        self.atoms, self.frames, self.allow = atoms, frames, allow
        self.first: Verdict | None = None
        self.calls = 0

    def __call__(self) -> None:
        """Judge the geometry as it is now."""
        verdict = self.atoms.calc.get_verdict(self.atoms)
        self.first = self.first or verdict
        if not self.allow and (reason := self._reason(verdict)):
            written = ""
            if self.frames is not None:
                self.frames.write(self.atoms)
                written = f"; the trajectory ends with this geometry ({len(self.frames)} frames)"
            raise ExtrapolationError(f"stopped after {self.calls} steps: {reason}{written}; {WAY_OUT}")
        self.calls += 1

    def _reason(self, verdict: Verdict) -> str:
        if verdict.trust == Trust.REFUSED:
            return str(verdict)
        bar, limit = verdict.error_bar, verdict.threshold
        first = None if self.first is None else self.first.error_bar
        if bar is None or limit is None or first is None or bar <= OUT_OF_BOUNDS * max(limit, first):
            return ""
        return (
            f"the error bar has grown from {1e3 * first:.1f} to {1e3 * bar:.1f} meV/atom, {OUT_OF_BOUNDS:g} "
            f"times what the model knows ({verdict})"
        )
