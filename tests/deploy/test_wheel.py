"""The wheel: with the compiled check of records where there is a compiler, and whole without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from ratsvc.quickmem import wire
from tests.deploy.chart import ROOT

SOURCES = ["pyproject.toml", "README.md", "LICENSE", "hatch_build.py", "ratsvc", "gen"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a wheel is built from, with a module of another build in it."""
    found = tmp_path / "tree"
    found.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, found / name)
    (found / "ratsvc/quickmem/_records.abi3.so").write_bytes(b"stale")
    return found


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Builds a wheel into the tree's `dist`, with the backend that is installed."""
    call = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    return subprocess.run(call, cwd=tree, env=os.environ | environment, capture_output=True, text=True)


def contents(tree: Path) -> tuple[str, list[str]]:
    """The name of the wheel that was built, and the compiled parts in it."""
    [wheel] = (tree / "dist").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "ratsvc/web/client/client.js" in names
    assert "rat/v1/record_pb2.py" in names
    return wheel.name, [name for name in names if name.endswith((".c", ".so"))]


def test_with_a_compiler_one_wheel_serves_every_version_of_python(tree: Path) -> None:
    if wire.compiled is None:
        pytest.skip("no C compiler with Python's headers here")
    done = build(tree, RATSVC_COMPILE="always")
    assert done.returncode == 0, done.stderr
    wheel, compiled = contents(tree)
    assert "-cp311-abi3-linux" in wheel
    assert compiled == ["ratsvc/quickmem/_records.abi3.so"]


def test_without_a_compiler_the_wheel_is_whole_and_says_what_it_lacks(tree: Path) -> None:
    done = build(tree, CC="/bin/false")
    assert done.returncode == 0, done.stderr
    assert "records will be checked in Python" in done.stdout + done.stderr
    wheel, compiled = contents(tree)
    assert wheel.endswith("-py3-none-any.whl")
    assert compiled == []


def test_a_build_that_must_compile_fails_without_a_compiler(tree: Path) -> None:
    assert build(tree, RATSVC_COMPILE="always", CC="/bin/false").returncode != 0


def test_a_build_that_must_not_compile_does_not(tree: Path) -> None:
    assert build(tree, RATSVC_COMPILE="never").returncode == 0
    assert contents(tree)[1] == []


def test_another_word_is_refused(tree: Path) -> None:
    done = build(tree, RATSVC_COMPILE="maybe")
    assert done.returncode != 0
    assert "RATSVC_COMPILE must be auto, always or never, not 'maybe'" in done.stdout + done.stderr


def test_what_builds_it_is_what_the_tests_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["build-system"]["requires"]) <= set(project["project"]["optional-dependencies"]["dev"])
