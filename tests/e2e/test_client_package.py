"""client.js as a package: its size, its types, and what is in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import ratsvc
from tests.e2e.conftest import HERE

PACKAGE = Path(ratsvc.__file__).parent / "web/client"
MOST_MINIFIED_BYTES = 8_000


def esbuild() -> Path:
    return HERE / "node_modules/.bin/esbuild"


def test_it_is_small(node: str) -> None:
    sizes = {}
    for name in ("client.js", "client-more.js"):
        command = [str(esbuild()), str(PACKAGE / name), "--minify", "--format=esm", "--target=es2022"]
        sizes[name] = len(subprocess.run(command, capture_output=True, check=True).stdout)
    assert sizes["client.js"] < MOST_MINIFIED_BYTES, sizes


def test_its_types_are_right(node: str) -> None:
    command = [str(HERE / "node_modules/.bin/tsc"), "--noEmit", "-p", str(HERE / "node/types/tsconfig.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_its_package_has_what_it_needs_and_nothing_else(node: str, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    assert npm is not None
    package = tmp_path / "client"
    shutil.copytree(PACKAGE, package)
    done = subprocess.run([npm, "pack", "--dry-run", "--json"], cwd=package, capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)
    (found,) = said.values() if isinstance(said, dict) else said  # by name since npm 12
    assert found["name"] == "ratsvc-client"
    assert {file["path"] for file in found["files"]} == {file.name for file in PACKAGE.iterdir()}
    assert found["version"] == version("ratsvc")
    program = 'import { subscribe, RatError } from "ratsvc-client"; console.log(typeof subscribe, typeof RatError)'
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(package, tmp_path / "node_modules/ratsvc-client")
    ran = subprocess.run([node, "--input-type=module", "-e", program], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "function function\n", ran.stderr
