"""The command `ferricorn`, also as `python -m ferricorn`."""

import os
import signal
import sys

from . import _core


def main() -> int:
    # The server has its own idea of Ctrl+C; Python's would raise KeyboardInterrupt wherever it happens to be.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What an upgrade executes again. The name that Python was called by may have been found in a PATH of another time.
    executed = [sys.executable or sys.orig_argv[0], *sys.orig_argv[1:]]
    name = os.path.basename(sys.argv[0])
    if name == "__main__.py":
        name = "ferricorn"
    return _core.main(executed, [name, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
