"""Copies of label files keep the precision of what they copy, unless told otherwise."""

import pytest

from helm_ase.cli import main
from helm_ase.labels.formats import open_labels
from shared.stored_labels import invented, write

EXPECTED = {("float32",): "float32", ("float64",): "float64", ("float32", "float64"): "float64",
            ("float32", "float32"): "float32"}  # fmt: skip


@pytest.mark.parametrize("given", EXPECTED)
@pytest.mark.parametrize("asked", [None, "float32", "float64"])
def test_precision_is_kept_unless_asked_for(given, asked, tmp_path):
    files = [
        write(tmp_path / f"{k}.h5", [invented(k, "O")], precision=precision)
        for k, precision in enumerate(given)
    ]
    arguments = ["data", "merge", *map(str, files), "-o", str(tmp_path / "all.h5")]
    assert main(arguments + ([f"--{asked}"] if asked else [])) == 0
    with open_labels(tmp_path / "all.h5") as merged:
        assert merged.precision == (asked or EXPECTED[given])
        assert len(merged) == len(given)
