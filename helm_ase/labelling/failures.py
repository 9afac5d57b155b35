"""List of structures that could not be labelled, with the reasons: one JSON object per line."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from helm_ase.errors import DatasetError
from helm_ase.system.atomic_write import whole_file


@dataclass(frozen=True)
class Failure:
    """One structure without label."""

    key: str
    """Fingerprint of the structure."""
    name: str
    reason: str
    seconds: float
    """Wall-clock time spent on it."""
    settings: str = ""
    """Fingerprint of settings and limits with which it was tried; with others it may succeed."""


class FailureList:
    """Append-only file of failures, read when a campaign begins.

    Raises
    ------
    DatasetError
        If a line other than a torn last one cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.entries: dict[str, Failure] = {}
        if self.path.exists():
            self._load()

    def _load(self) -> None:
        text = self.path.read_text(encoding="utf8", errors="replace")
        whole, _, torn = text.rpartition("\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = Failure(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise DatasetError(f"{self.path}, line {number} is not a failure entry: {error}") from error
            self.entries[entry.key] = entry
        if torn:
            self.rewrite()

    def add(self, failure: Failure) -> None:
        """Append one entry; it is on the disk when this returns."""
        self.entries[failure.key] = failure
        with open(self.path, "a", encoding="utf8") as file:
            file.write(json.dumps(asdict(failure)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self, resolved: frozenset[str] | set[str] = frozenset()) -> None:
        """Drop the entries of structures that have a label now; without entries there is no file."""
        self.entries = {k: f for k, f in self.entries.items() if k not in resolved}
        if not self.entries:
            self.path.unlink(missing_ok=True)
            return
        with whole_file(self.path) as partial:
            lines = [json.dumps(asdict(f)) + "\n" for f in self.entries.values()]
            partial.write_text("".join(lines), encoding="utf8")
