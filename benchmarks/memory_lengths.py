"""The most memory that a process holds for a recording of 2 hours and for one of 2 minutes, each in its own.

    python benchmarks/memory_lengths.py [--model bundled] [--minutes 2 120] [--option NAME=JSON ...] [--short]

The recordings are those of memory.py, made while they are read. The model may be one of the shapes of scripted.py, too:
--model whisper-base, whose windows all have 100 tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from measure import Contestant, arguments_of, begin, interleaved, summary, write
from recordings import SPEECH
from scripted import SHAPES, scripted_whisper


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "memory-lengths", repeats=1)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0, 120.0])
    parser.add_argument("--option", action="append", default=[], help="a call parameter as NAME=VALUE, in JSON")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    arguments = parser.parse_args()
    arguments.name += f"-{Path(arguments.model).name}"
    begin(arguments)
    minutes = [1.0, 5.0] if arguments.short else arguments.minutes
    parameters: dict[str, Any] = {
        name: json.loads(value) for name, _, value in (one.partition("=") for one in arguments.option)
    }
    model, shape = arguments.model, arguments.model.removeprefix("whisper-")
    if shape in SHAPES:
        model = str(scripted_whisper(arguments.cache, shape).folder)
        parameters = {"language": "en", "schedule": "batched", **parameters}
    rows: dict[str, Any] = {}
    for length in minutes:  # one after the other: a process that waits holds memory as well
        name = f"{length:g} minutes"
        given = {"model": model, "seconds": length * 60, "speech": str(arguments.speech), "parameters": parameters}
        worker = interleaved([Contestant(name, "peers.ours:memory", given)], arguments.repeats, warm_ups=0)[name]
        rows[name] = {**summary(worker, 1), "words": worker.output}
    peaks = [row["peak_mib"] for row in rows.values() if "peak_mib" in row]
    write(
        arguments.out,
        "the most memory of a process that loads a model and transcribes one recording, in MiB",
        {"model": arguments.model, "parameters": parameters},
        {"contestants": rows, "longest_less_shortest_mib": peaks[-1] - peaks[0] if len(peaks) > 1 else None},
    )


if __name__ == "__main__":
    main()
