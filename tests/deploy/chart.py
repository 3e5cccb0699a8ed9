"""The chart rendered by helm: what the tests of `helm/ratsvc` share."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "ratsvc"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
SCHEMAS = ROOT / "build" / "schemas"
CLUSTER = ("--kube-version", "1.34.0")  # a helm 3 that Go built takes the cluster for a very old one

Objects = dict[tuple[str, str], dict[str, Any]]


def tool(name: str) -> str:
    """The path of a tool; the test is skipped where it is not."""
    go = Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin"
    found = shutil.which(name) or shutil.which(name, path=str(go))
    if found is None:
        pytest.skip(f"no {name} here: `make deploy-test` builds it with Go, which takes minutes")
    return found


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs helm."""
    return subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, timeout=60)


def rendered(name: str, *arguments: str) -> str:
    """What `helm template` makes of the chart with the values file `ci/NAME-values.yaml`."""
    values = CHART / "ci" / f"{name}-values.yaml"
    done = helm("template", "r", CHART, *CLUSTER, "--namespace", "ns", "-f", values, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def objects(name: str) -> Objects:
    """The rendered objects, by kind and name."""
    found = [one for one in yaml.safe_load_all(rendered(name)) if one]
    made = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(made) == len(found)
    return made


def refused(*changes: str) -> str:
    """What helm says when it does not render the chart with these `--set` changes."""
    sets = [part for change in changes for part in ("--set", change)]
    done = helm("template", "r", CHART, *CLUSTER, *sets)
    assert done.returncode != 0, f"{changes} were taken"
    return done.stderr
