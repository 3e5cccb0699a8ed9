"""The checked-in generated code is what the protos say."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path

from tests.golang import MODULE, built

ROOT = Path(__file__).resolve().parents[3]


def test_gen_has_not_drifted_from_the_protos(tmp_path: Path) -> None:
    (tmp_path / "rat/v1").mkdir(parents=True)
    subprocess.run([sys.executable, "tests/generate.py", str(tmp_path)], cwd=ROOT, check=True, env=dict(os.environ))
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*") if "__pycache__" not in path.parts)
    kept = sorted(p.relative_to(ROOT / "gen") for p in (ROOT / "gen").rglob("*.py*") if "__pycache__" not in p.parts)
    assert made == kept
    for path in made:
        assert filecmp.cmp(tmp_path / path, ROOT / "gen" / path, shallow=False), f"{path}: run `make protos`"


def test_the_go_code_of_the_examples_has_not_drifted_from_the_protos(tmp_path: Path) -> None:
    plugins = str(built("protoc-gen-go").parent)
    subprocess.run([sys.executable, "tests/generate.py", str(tmp_path), plugins], cwd=ROOT, check=True)
    made, kept = (sorted(path.relative_to(top) for path in top.rglob("*pb.go")) for top in (tmp_path, MODULE))
    assert made
    assert made == kept
    for path in made:
        assert (tmp_path / path).read_bytes() == (MODULE / path).read_bytes(), f"{path}: run `make protos`"
