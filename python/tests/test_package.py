"""What `pip install ./python` has put there. On a new machine `make test` does that from a fresh clone."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "ferricorn"
STUBS = sorted(SOURCE.glob("*.pyi"))
DISTRIBUTION = importlib.metadata.distribution("ferricorn")


def test_the_package_has_its_files_and_nothing_else():
    names = {str(path) for path in DISTRIBUTION.files if path.suffix != ".pyc"}
    modules = {name for name in names if name.startswith("ferricorn/")}
    files = (path for path in SOURCE.rglob("*") if path.suffix in (".py", ".pyi") or path.name == "py.typed")
    expected = {f"ferricorn/{path.relative_to(SOURCE)}" for path in files}
    assert {name for name in modules if not name.endswith(".so")} == expected
    assert len([name for name in modules if name.endswith(".so")]) == 1
    assert "ferricorn/py.typed" in modules
    others = names - modules
    assert all(".dist-info/" in name or name.endswith("bin/ferricorn") for name in others), others


def run(directory, *command):
    """Elsewhere than in the source, which would be found before what was installed."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_the_module_and_the_metadata_have_one_version(tmp_path):
    assert DISTRIBUTION.requires is None, "it needs no other package"
    for command in [Path(sys.executable).parent / "ferricorn"], [sys.executable, "-m", "ferricorn"]:
        assert DISTRIBUTION.version in run(tmp_path, *command, "--version")


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.name)
def test_stubs_name_what_there_is(tmp_path, stub):
    module = "ferricorn" if stub.stem == "__init__" else f"ferricorn.{stub.stem}"
    names = []
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.append(node.target.id)
    run(tmp_path, sys.executable, "-c", f"import {module} as module\nfor name in {names}: getattr(module, name)")
