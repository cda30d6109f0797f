"""The model inside the package, beside transformers' ParakeetForCTC on the same checkpoint: clips and a long recording.

python benchmarks/bundled.py [--clips 64] [--seconds 600] [--repeats 5] [--instructions avx2] [--short]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctc import OURS, rows
from measure import HERE, Contestant, arguments_of, begin, chosen, interleaved, write
from recordings import clips, recording, seconds_of

MODEL = HERE.parent / "src" / "auricle" / "bundled"
BATCHES = (1, 8, 16)
OUR_BATCHES = (1, 8)
CHUNK_S = 30.0


def many_clips(heard: list[Path]) -> list[Contestant]:
    """Clips, in several batches of each; the pipeline's own default of auricle is 1."""
    given: dict[str, Any] = {"model": str(MODEL), "clips": [str(one) for one in heard]}
    return [
        *(
            Contestant(
                OURS if batch == max(OUR_BATCHES) else f"{OURS}, batch {batch}",
                "peers.ours:recognizer",
                {**given, "batch_size": batch},
            )
            for batch in OUR_BATCHES
        ),
        *(
            Contestant(
                f"transformers float32, batch {batch}",
                "peers.hugging_face:recognizer",
                {**given, "batch_size": batch},
            )
            for batch in BATCHES
        ),
    ]


def long_recording(heard: Path) -> list[Contestant]:
    """Minutes in one go; transformers in its windows with a stride, which its pipeline has for CTC models."""
    given = {"model": str(MODEL), "recording": str(heard)}
    return [
        Contestant(OURS, "peers.ours:transcriber", {**given, "parameters": {"batch_size": 8}}),
        *(
            Contestant(
                f"transformers float32, windows of {CHUNK_S:g} s, batch {batch}",
                "peers.hugging_face:ctc_transcriber",
                {**given, "call": {"chunk_length_s": CHUNK_S, "batch_size": batch}},
            )
            for batch in (1, 8)
        ),
        Contestant("transformers float32, all at once", "peers.hugging_face:ctc_transcriber", given),
    ]


def with_hours(measured: dict[str, Any]) -> dict[str, Any]:
    """The figure of this script: hours of audio in a minute."""
    for row in measured["contestants"].values():
        if "times_real_time" in row:
            row["hours_of_audio_per_minute"] = round(row["times_real_time"] / 60, 2)
    return measured


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "bundled", repeats=5)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the long recording")
    arguments = parser.parse_args()
    begin(arguments)
    repeats, n_clips, seconds = arguments.repeats, arguments.clips, arguments.seconds
    if arguments.short:
        repeats, n_clips, seconds = 1, 16, 60.0
    many, long = clips(arguments.cache, n_clips, 1.0, 20.0), recording(arguments.cache, seconds)
    together = interleaved(chosen(many_clips(many), arguments), repeats)
    alone = interleaved(chosen(long_recording(long), arguments), repeats)
    write(
        arguments.out,
        "the bundled model, from samples to text: clips of 1 to 20 s, and one long recording (auricle's is divided "
        "where voice is detected, which is part of its time)",
        {"clips": n_clips, "seconds": seconds},
        {
            "many clips": with_hours(rows(together, sum(seconds_of(one) for one in many))),
            "long recording": with_hours(rows(alone, seconds)),
        },
    )


if __name__ == "__main__":
    main()
