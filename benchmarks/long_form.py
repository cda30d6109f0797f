"""A long recording, Whisper, 100 tokens a window of 30 s: auricle beside faster-whisper, transformers, whisper.cpp and
OpenVINO GenAI, on one checkpoint of the true shape that writes a known text.

    python benchmarks/long_form.py [--shape base] [--seconds 300] [--repeats 5] [--instructions avx2] [--short]

All cut the recording every 30 s and are told nothing of the text before, so that all do the same work; the rows named
"own division" detect voice and cut as the library itself does by default.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measure import (
    Contestant,
    arguments_of,
    begin,
    chosen,
    has_bfloat16,
    interleaved,
    median,
    ratios,
    summary,
    texts,
    write,
)
from recordings import SPEECH, recording, seconds_of
from scripted import CAVEAT, Checkpoint, scripted_whisper

WINDOW_S = 30.0
OURS = "auricle, batched"
SLOW = 2  # repeats of those that take minutes


def contestants(checkpoint: Checkpoint, heard: Path, batch: int) -> list[Contestant]:
    """All libraries, each at its best for a CPU, and some at their defaults."""
    given = {"model": str(checkpoint.folder), "recording": str(heard)}
    alone = {"condition_on_previous_text": False}
    ours = {"language": "en", **alone}
    batched = {"schedule": "batched", "batch_size": batch}

    def contestant(name: str, work: str, repeats: int | None = None, **arguments: Any) -> Contestant:
        return Contestant(name, f"peers.{work}", {**given, **arguments}, repeats)

    found = [
        contestant(OURS, "ours:transcriber", parameters={**ours, **batched, "vad": False}, window_s=WINDOW_S),
        contestant("auricle, sequential", "ours:transcriber", parameters={**ours, "vad": False}),
        contestant("auricle, batched, own division", "ours:transcriber", parameters={**ours, **batched}),
        contestant(
            "faster-whisper int8, sequential", "faster_whisper:transcriber", parameters={**alone, "beam_size": 1}
        ),
        contestant(
            "faster-whisper int8, batched", "faster_whisper:batched",
            parameters={"batch_size": batch, "beam_size": 1}, window_s=WINDOW_S,
        ),
        contestant(
            "faster-whisper int8, batched, own division", "faster_whisper:batched",
            parameters={"batch_size": batch, "beam_size": 1},
        ),
        contestant("faster-whisper int8, its defaults (5 beams)", "faster_whisper:transcriber", SLOW, parameters={}),
        contestant(
            "transformers float32, greedy", "hugging_face:transcriber", SLOW,
            call={"return_timestamps": True}, generate={"num_beams": 1},
        ),
        contestant(
            "transformers float32, its defaults (5 beams)", "hugging_face:transcriber", SLOW,
            call={"return_timestamps": True},
        ),
        contestant("whisper.cpp q8_0", "whisper_cpp:transcriber", kind="q8_0", parameters={}),
        contestant("whisper.cpp f16", "whisper_cpp:transcriber", SLOW, kind="f16", parameters={}),
        contestant("openvino-genai int8", "openvino_genai:transcriber", kind="int8"),
        contestant("openvino-genai f32", "openvino_genai:transcriber", SLOW, kind="f32"),
    ]  # fmt: skip
    if has_bfloat16():
        found.append(
            contestant(
                "transformers bfloat16, windows in batches", "hugging_face:transcriber", SLOW, dtype="bfloat16",
                call={"return_timestamps": True, "chunk_length_s": 30, "batch_size": batch},
                generate={"num_beams": 1},
            )
        )  # fmt: skip
    return found


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "long-form", repeats=5)
    parser.add_argument("--shape", choices=["tiny", "base", "small"], default="base")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--speech", type=Path, default=SPEECH)
    arguments = parser.parse_args()
    arguments.name += f"-{arguments.shape}"
    begin(arguments)
    if arguments.short:
        arguments.seconds, arguments.repeats = min(arguments.seconds, 60.0), min(arguments.repeats, 1)
    measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Run all contestants."""
    heard = recording(arguments.cache, arguments.seconds, arguments.speech)
    checkpoint = scripted_whisper(arguments.cache, arguments.shape)
    n_windows = -(-seconds_of(heard) // WINDOW_S)
    wanted = " ".join([checkpoint.text] * int(n_windows))
    taking_part = chosen(contestants(checkpoint, heard, arguments.batch_size), arguments)
    workers = interleaved(taking_part, arguments.repeats, warm_ups=0)
    same = texts(workers, wanted)
    rows = {}
    for name, worker in workers.items():
        rows[name] = {**summary(worker, 3), **same.get(name, {})}
        if name.endswith("own division") and name in same:
            # Where voice is decides how many windows there are, and each has the text.
            n_own = max(1, round(same[name]["words"] / len(checkpoint.text.split())))
            own = texts({name: worker}, " ".join([checkpoint.text] * n_own))
            rows[name].update(own[name], windows=n_own)
        if worker.seconds:
            rows[name]["times_real_time"] = round(arguments.seconds / median(worker), 2)
    write(
        arguments.out,
        f"a recording of {arguments.seconds:g} s, whisper-{arguments.shape} shape, {checkpoint.n_tokens} tokens a "
        "window of 30 s, the checkpoint loaded; same_text: the known text, word for word",
        {"shape": arguments.shape, "seconds": arguments.seconds, "batch_size": arguments.batch_size},
        {"caveat": CAVEAT, "contestants": rows, "times_as_long_as_ours": ratios(workers, OURS)},
    )


if __name__ == "__main__":
    main()
