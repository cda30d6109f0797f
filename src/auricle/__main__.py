"""The `auricle` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its status."""
    from auricle.cli import app

    app()


if __name__ == "__main__":
    main()
