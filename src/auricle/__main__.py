"""The `auricle` command."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        _run()
    except KeyboardInterrupt:  # before a command has begun: while modules are loaded
        sys.exit(130)


def _run() -> None:
    gc.disable()  # modules that are being loaded leave no garbage
    try:
        from auricle.cli import app
        from auricle.cli.border import lost_output, reopen_closed_streams
    finally:
        gc.freeze()
        gc.enable()
    reopen_closed_streams()
    try:
        app()
    except OSError as error:  # of the help, which no command's border is around
        sys.exit(lost_output(error))
    finally:
        # Python ends by looking for garbage among the objects of all modules, 0.3 s with torch; nothing waits for it.
        gc.freeze()


if __name__ == "__main__":
    main()
