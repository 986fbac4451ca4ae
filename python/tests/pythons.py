"""Tests the package with every CPython from 3.10 to 3.13 that is here, besides the one that runs this: the parts that depend
on the interpreter. Says which were found."""

import glob
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parent
PLACE = SOURCE / "target" / "pythons"
VERSIONS = [(3, minor) for minor in range(10, 14)]
#: What an interpreter has a say in: its objects, forks, signals and threads.
TESTS = [
    f"test_{subject}.py"
    for subject in ("package", "loading", "environs", "responses", "bodies", "hooks", "preload", "processes")
]
#: Without most of the calls that hang, each of which takes seconds.
SHORT = "not (takes_too_long or shows_where_it_hangs) or sleeping"
NEEDED = ["pytest", "gunicorn"]
#: What an interpreter must be able to do, and what it is.
PROBE = (
    "import ensurepip, ssl, sys, sysconfig, venv; assert sys.implementation.name == 'cpython'; "
    "assert not sysconfig.get_config_var('Py_GIL_DISABLED'); print(*sys.version_info[:2], sys.executable)"
)


def candidates(version):
    """Where an interpreter may be: in PATH, and where pyenv has put it."""
    name = "python{}.{}".format(*version)
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        yield os.path.join(directory, name)
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    yield from sorted(glob.glob(f"{root}/versions/{version[0]}.{version[1]}.*/bin/{name}"), reverse=True)


def find(version):
    """The first that works."""
    for path in candidates(version):
        if not os.access(path, os.X_OK):
            continue
        probed = subprocess.run([path, "-c", PROBE], capture_output=True, text=True)
        found = probed.stdout.split(maxsplit=2)
        if probed.returncode == 0 and found[:2] == [str(part) for part in version]:
            return found[2].strip()
    return None


def check(version, executable):
    """Builds, installs and tests; returns whether all is well."""
    venv = PLACE / "{}.{}".format(*version)
    python = str(venv / "bin" / "python")
    # One directory for all of them, so that what knows nothing of Python is compiled once.
    environment = os.environ | {"CARGO_TARGET_DIR": str(PLACE / "build"), "MATURIN_PEP517_ARGS": "--profile dev"}
    steps = [
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", str(HERE / "requirements.txt"), *NEEDED],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(SOURCE)],
        [python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--config-file", str(SOURCE / "pyproject.toml")]
        + ["-k", SHORT, *(str(HERE / test) for test in TESTS)],
    ]
    if not os.access(python, os.X_OK):
        steps.insert(0, [executable, "-m", "venv", "--clear", str(venv)])
    return all(subprocess.run(step, env=environment).returncode == 0 for step in steps)


def main():
    own = sys.version_info[:2]
    found = {version: find(version) for version in VERSIONS if version != own}
    for version in VERSIONS:
        what = "tested in full by `make test-python`" if version == own else found[version] or "not here"
        print("CPython {}.{}: {}".format(*version, what), flush=True)
    failed = []
    for version, executable in found.items():
        if executable is not None:
            began = time.monotonic()
            well = check(version, executable)
            word = "works" if well else "FAILED"
            print("CPython {}.{}: {} ({:.0f} s)".format(*version, word, time.monotonic() - began), flush=True)
            if not well:
                failed.append(version)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
