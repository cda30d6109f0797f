"""The `auricle` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        _run()
    except KeyboardInterrupt:  # before a command has begun: while modules are loaded
        sys.exit(130)


def _run() -> None:
    from auricle.cli.border import lost_output, reopen_closed_streams

    reopen_closed_streams()
    from auricle.cli import app

    try:
        app()
    except OSError as error:  # of the help, which no command's border is around
        sys.exit(lost_output(error))


if __name__ == "__main__":
    main()
