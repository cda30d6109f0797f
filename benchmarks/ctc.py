"""wav2vec2-base: one clip of 15 s, and 64 clips of 1 to 20 s, beside transformers at its best type and batch.

python benchmarks/ctc.py [--repeats 5] [--instructions avx2] [--short]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measure import Contestant, Worker, arguments_of, begin, chosen, has_bfloat16, interleaved, median, summary, write
from recordings import clips, recording, seconds_of
from scripted import random_wav2vec2

OURS = "auricle"
BATCHES = (1, 8)
OUR_BATCH = 8
WHOLE = 0.9  # of our words: the least that another must write


def types() -> tuple[str, ...]:
    """Those of transformers that this processor computes."""
    return ("float32", "bfloat16") if has_bfloat16() else ("float32",)


def one_clip(model: str, heard: Path) -> list[Contestant]:
    """A clip alone."""
    given = {"model": model, "recording": str(heard)}
    return [
        Contestant(OURS, "peers.ours:transcriber", {**given, "parameters": {}}),
        *(
            Contestant(f"transformers {dtype}", "peers.hugging_face:ctc_transcriber", {**given, "dtype": dtype})
            for dtype in types()
        ),
    ]


def many_clips(model: str, heard: list[Path]) -> list[Contestant]:
    """All clips, in each of transformers' types and batches."""
    given: dict[str, Any] = {"model": model, "clips": [str(one) for one in heard]}
    return [
        Contestant(OURS, "peers.ours:recognizer", {**given, "batch_size": OUR_BATCH}),
        *(
            Contestant(
                f"transformers {dtype}, batch {batch}",
                "peers.hugging_face:recognizer",
                {**given, "dtype": dtype, "batch_size": batch},
            )
            for dtype in types()
            for batch in BATCHES
        ),
    ]


def n_words(worker: Worker) -> int:
    """Words of all its texts."""
    found = worker.output if isinstance(worker.output, list) else [worker.output or ""]
    return sum(len(text.split()) for text in found)


def rows(workers: dict[str, Worker], seconds: float) -> dict[str, Any]:
    """What is written of each contestant, and how far the best of the others is behind."""
    found: dict[str, Any] = {}
    ours = workers.get(OURS)
    for name, worker in workers.items():
        found[name] = summary(worker)
        if worker.seconds:
            found[name]["times_real_time"] = round(seconds / median(worker), 1)
            found[name]["words"] = n_words(worker)
        if worker.seconds and ours is not None and ours.seconds and worker is not ours:
            own, their = (one if isinstance(one, list) else [one] for one in (ours.output, worker.output))
            found[name]["equal_texts"] = f"{sum(a == b for a, b in zip(own, their, strict=True))} of {len(own)}"
    least = WHOLE * n_words(ours) if ours is not None else 0  # who loses text is not counted as fast
    theirs = [one for name, one in workers.items() if not name.startswith(OURS)]
    others = [median(one) for one in theirs if one.seconds and n_words(one) >= least]
    ahead = round(min(others) / median(ours), 2) if others and ours is not None and ours.seconds else None
    return {"contestants": found, "best_other_times_as_long_as_ours": ahead}


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "ctc-wav2vec2-base", repeats=5)
    parser.add_argument("--clips", type=int, default=64)
    arguments = parser.parse_args()
    begin(arguments)
    repeats, n_clips = (1, 16) if arguments.short else (arguments.repeats, arguments.clips)
    model = str(random_wav2vec2(arguments.cache))
    heard, many = recording(arguments.cache, 15.0), clips(arguments.cache, n_clips, 1.0, 20.0)
    alone = interleaved(chosen(one_clip(model, heard), arguments), repeats)
    # Batches are many sizes, which are all met in the first call: it is the warm-up.
    together = interleaved(chosen(many_clips(model, many), arguments), repeats, warm_ups=0)
    write(
        arguments.out,
        "wav2vec2-base shape, random: one clip of 15 s, and clips of 1 to 20 s in any order, from samples to text",
        {"clips": n_clips},
        {
            "one clip": rows(alone, 15.0),
            "many clips": rows(together, sum(seconds_of(one) for one in many)),
        },
    )


if __name__ == "__main__":
    main()
