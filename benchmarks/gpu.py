"""A long recording on CUDA: the whisper-large-v3-turbo shape in bfloat16, beside transformers' bfloat16 with SDPA.

    python benchmarks/gpu.py [--seconds 1800] [--batches 8,16,32,64] [--repeats 3] [--short]

Each library at each number of windows at once; the best of each is what counts. Without a GPU it says so, and measures
nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from long_form import WINDOW_S
from measure import Contestant, Worker, arguments_of, begin, chosen, interleaved, median, summary, texts, write
from recordings import SPEECH, recording
from scripted import scripted_whisper

OURS, PEER = "auricle bfloat16", "transformers bfloat16 SDPA"


def contestants(model: str, heard: str, batches: list[int]) -> list[Contestant]:
    """Windows of 30 s for all, at each batch."""
    given = {"model": model, "recording": heard, "device": "cuda"}
    ours = {"language": "en", "condition_on_previous_text": False, "schedule": "batched", "vad": False}
    found = []
    for batch in batches:
        found += [
            Contestant(
                f"{OURS}, batch {batch}",
                "peers.ours:transcriber",
                {**given, "dtype": "bfloat16", "parameters": {**ours, "batch_size": batch}, "window_s": WINDOW_S},
            ),
            Contestant(
                f"{PEER}, batch {batch}",
                "peers.hugging_face:transcriber",
                {
                    **given,
                    "dtype": "bfloat16",
                    "settings": {"model_kwargs": {"attn_implementation": "sdpa"}},
                    "call": {
                        "return_timestamps": True,
                        "chunk_length_s": WINDOW_S,
                        "stride_length_s": 0,
                        "batch_size": batch,
                    },
                    "generate": {"num_beams": 1},
                },
            ),
        ]
    return found


def best(workers: dict[str, Worker], name: str) -> tuple[str, float] | None:
    """The fastest batch of a library."""
    found = [(key, median(worker)) for key, worker in workers.items() if key.startswith(name) and worker.seconds]
    return min(found, key=lambda one: one[1], default=None)


def gpu() -> dict[str, Any] | None:
    """The GPU that is measured."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
    }


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "gpu-turbo", repeats=3)
    parser.add_argument("--shape", choices=["tiny", "base", "turbo"], default="turbo")
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--batches", default="8,16,32,64")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    arguments = parser.parse_args()
    found = gpu()
    if found is None:
        print("no GPU that torch can use is here (torch.cuda.is_available() is False): nothing was measured")
        return
    begin(arguments)
    if arguments.short:
        arguments.seconds, arguments.repeats, arguments.batches = 120.0, 1, "8"
    checkpoint = scripted_whisper(arguments.cache, arguments.shape)
    heard = recording(arguments.cache, arguments.seconds, arguments.speech)
    batches = [int(one) for one in arguments.batches.split(",")]
    taking_part = chosen(contestants(str(checkpoint.folder), str(heard), batches), arguments)
    workers = interleaved(taking_part, arguments.repeats)
    n_windows = int(-(-arguments.seconds // WINDOW_S))
    same = texts(workers, " ".join([checkpoint.text] * n_windows))
    rows: dict[str, Any] = {}
    for name, worker in workers.items():
        rows[name] = {**summary(worker, 3), **same.get(name, {})}
        if worker.seconds:
            rows[name]["times_real_time"] = round(arguments.seconds / median(worker), 1)
    ours, theirs = best(workers, OURS), best(workers, PEER)
    write(
        arguments.out,
        f"a recording of {arguments.seconds:g} s on CUDA, whisper-{arguments.shape} shape, {checkpoint.n_tokens} "
        "tokens a window of 30 s, the checkpoint loaded",
        {"shape": arguments.shape, "seconds": arguments.seconds, "gpu": found},
        {
            "contestants": rows,
            "best": {"ours": ours, "transformers": theirs},
            "times_as_long_as_ours": round(theirs[1] / ours[1], 2) if ours and theirs else None,
        },
    )


if __name__ == "__main__":
    main()
