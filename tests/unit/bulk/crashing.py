"""Kills a run at each of its steps on disk, and lets another go on: run with a manifest and a folder.

With a third word, "retry", it is the second run that is killed, which does rows again that failed in the first.

Each run is a process of its own that ends itself with SIGKILL right before the k-th of its calls that have on disk what
was written, or give a file its name: all that is between two of them is then done. One line of JSON on stdout says for
every k what was found at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from runpy import run_path

import auricle.bulk.output as output
import auricle.bulk.rows as rows
from auricle.bulk import BulkOptions, transcribe_corpus
from auricle.corpora import open_corpus

Toy = run_path(str(Path(__file__).with_name("toys.py")))["Toy"]
OPTIONS = BulkOptions(shard_size=2, batch_size=1)


class Fuse:
    """Stands for a module `os` whose steps are counted; the one at `end` does not happen any more."""

    def __init__(self, end: int) -> None:
        self.left = end

    def __getattr__(self, name: str) -> object:
        call = getattr(os, name)
        if name not in ("fsync", "replace"):
            return call

        def counted(*given: object) -> object:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            # A process that dies takes nothing from the disk's cache with it, so that this need not be waited for.
            return None if name == "fsync" else call(*given)

        return counted


def run(manifest: str, out: Path, fuse: Fuse, *, is_retry: bool = False) -> int:
    """Run in a process; return its exit status, negative for a signal. A retry hears what broke before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output.os = rows.os = fuse  # type: ignore[assignment]
            toy = Toy(breaks_at=None if is_retry else 160 * 8)
            transcribe_corpus(toy, open_corpus(manifest), out, OPTIONS, retry_failed=is_retry)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(manifest: str, out: Path, is_retry: bool) -> None:
    """Try every step, until a run ends by itself."""
    for end in range(1000):
        shutil.rmtree(out, ignore_errors=True)
        if is_retry:
            run(manifest, out, Fuse(-1))
        killed = run(manifest, out, Fuse(end), is_retry=is_retry)
        status = run(manifest, out, Fuse(-1), is_retry=is_retry)
        found = [row["id"] for path in sorted(out.glob("shard-*")) for row in rows.read_rows(path)]
        failed = [json.loads(line)["id"] for line in (out / "failures.jsonl").read_text().splitlines()]
        left = sorted(path.name for path in out.iterdir() if path.suffix in (".part", ".journal"))
        told = {"killed": killed, "status": status, "ids": found, "failed": failed, "left": left}
        print(json.dumps(told), flush=True)
        if killed == 0:
            break


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "retry" in sys.argv[3:])
