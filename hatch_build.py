"""Compiles what checks records and writes them as JSON (`ratsvc/quickmem/_records.c` and `_json.c`), where there is a C
compiler with Python's headers.

Without them the package is the same, and does both in Python, at the cost of throughput. The environment's
RATSVC_COMPILE says otherwise: `always` makes a build without it fail, `never` builds without it.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import sys_tags
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

MODULE = "ratsvc/quickmem/_records"
SOURCES = (f"{MODULE}.c", "ratsvc/quickmem/_json.c")
#: The stable ABI of Python 3.11: what is compiled once serves every later version.
API = "0x030B0000"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling's hook, by the name that it asks for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        how = os.environ.get("RATSVC_COMPILE", "auto")
        if how not in ("auto", "always", "never"):
            raise ValueError(f"RATSVC_COMPILE must be auto, always or never, not {how!r}")
        for stale in Path(self.root).glob(f"{MODULE}*.so"):
            stale.unlink()
        # The stable ABI has no build without the GIL.
        if how == "never" or (how == "auto" and sysconfig.get_config_var("Py_GIL_DISABLED")):
            return
        try:
            made = _compile(Path(self.root))
        except (BaseError, CCompilerError) as error:
            if how == "always":
                raise
            self.app.display_warning(f"records will be checked in Python, since nothing was compiled: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{next(sys_tags()).platform}"
        build_data["artifacts"].append("/" + made)


def _compile(root: Path) -> str:
    """Compiles the sources, and puts the module beside it; returns its path from `root`."""
    name = MODULE.replace("/", ".")
    extension = Extension(
        name, [str(root / source) for source in SOURCES], py_limited_api=True,
        define_macros=[("Py_LIMITED_API", API)], extra_compile_args=["-Wall", "-Wextra"],
    )  # fmt: skip
    command = build_ext(Distribution({"ext_modules": [extension]}))
    command.build_lib, command.build_temp, command.force = str(root), str(root / "build/compiled"), True
    command.ensure_finalized()
    command.run()
    return str(Path(command.get_ext_fullpath(name)).relative_to(root))
