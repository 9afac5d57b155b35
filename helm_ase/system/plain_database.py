"""Safe reading of SQLite files from untrusted sources: only plain tables, and queries of bounded time."""

import sqlite3
from pathlib import Path
from typing import Any

from helm_ase.errors import DatasetError

LOOK_EVERY = 100_000
"""Number of SQLite instructions after which they are counted."""
FREE = 10_000_000
"""Number of instructions that any query may take, about a second of work."""
EACH_BYTE = 2
"""Additional instructions per byte of the file; a row of ten bytes takes ten to twenty."""


class BoundedConnection(sqlite3.Connection):
    """Connection that interrupts queries which take too long.

    In a damaged or malicious file, a query might never end.
    """

    bound = FREE
    _left = 0

    def execute(self, *terms: Any) -> sqlite3.Cursor:
        """As in sqlite3; the query is interrupted when it has taken more than ``bound`` instructions."""
        self._left = self.bound // LOOK_EVERY
        self.set_progress_handler(self._look, LOOK_EVERY)
        return super().execute(*terms)

    def _look(self) -> int:
        self._left -= 1
        return int(self._left < 0)


def connect(path: Path) -> BoundedConnection:
    """Open an existing SQLite file, read-only.

    Raises
    ------
    DatasetError
        If it holds anything but tables and indices: views and triggers can execute code.
    """
    # Threads may share it: sqlite3 serialises them, and this package only reads.
    address = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False, factory=BoundedConnection)
    size = path.stat().st_size
    connection.bound = FREE + EACH_BYTE * size
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, 2**20))  # no value is longer than its file
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    try:
        odd = connection.execute(
            "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') "
            "OR sql LIKE 'CREATE VIRTUAL%' LIMIT 1"
        ).fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    if odd is not None:
        connection.close()
        raise DatasetError(f"{path} holds {odd[0]} {str(odd[1])[:40]!r}; only plain tables are read")
    return connection
