"""One decode step of Whisper at batch 1 and 8: auricle's engine and its whole greedy path, beside CTranslate2 int8.

    python benchmarks/decode_step.py [--shape base] [--repeats 7] [--instructions avx2] [--short]

A step is the difference between a long text and a short one, divided by the tokens between them, so that neither the
encoder nor what is prepared for each window counts; "engine" makes one plain step for each token, "greedy text" may
draft several and check them together. The floor is the memory that a step must read (8-bit weights of the
decoder and the vocabulary once, 16-bit keys and values once for each row) at the rate at which this machine copies.
"""

from __future__ import annotations

from typing import Any

from measure import Contestant, Measured, arguments_of, begin, chosen, interleaved, median, n_threads, summary, write
from recordings import recording
from scripted import CAVEAT, SHAPES, Shape, scripted_whisper

BATCHES = (1, 8)
N_TOKENS = (16, 80)
COPIED_MIB = 256
N_FRAMES = 1500
COPY = "a copy of memory"


def contestants(model: str, heard: str, batches: tuple[int, ...], n_tokens: tuple[int, int]) -> list[Contestant]:
    """Each way of making a step, at each batch."""
    found = [Contestant(COPY, "decode_step:copy")]
    for batch in batches:
        given: dict[str, Any] = {"model": model, "recording": heard, "batch": batch, "n_tokens": n_tokens}
        found += [
            Contestant(f"auricle, engine, batch {batch}", "peers.ours:decode_steps", given),
            Contestant(f"auricle, greedy text, batch {batch}", "peers.ours:greedy_tokens", given),
            Contestant(f"CTranslate2 int8, batch {batch}", "peers.faster_whisper:greedy_tokens", given),
            Contestant(f"transformers float32, batch {batch}", "peers.hugging_face:decode_steps", given),
        ]
    return found


def copy() -> Any:
    """Seconds to read and write one GiB."""
    import time

    import torch

    torch.set_num_threads(n_threads())
    source = torch.ones(COPIED_MIB * 2**20 // 4)
    target = torch.empty_like(source)

    def run() -> Measured:
        started = time.perf_counter()
        for _ in range(4):
            target.copy_(source)
        return Measured((time.perf_counter() - started) * 2**30 / (2 * 4 * source.numel() * 4))

    return run


def bytes_of_a_step(shape: Shape, batch: int) -> int:
    """What must be read: weights at 8 bits; keys and values of the recording and of 48 tokens at 16 bits."""
    layer = 4 * shape.width**2 + 2 * shape.width**2 + 8 * shape.width**2
    weights = shape.decoder_layers * layer + shape.vocabulary * shape.width
    cached = shape.decoder_layers * 2 * shape.width * (N_FRAMES + sum(N_TOKENS) // 2) * 2
    return weights + batch * cached


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "decode-step", repeats=7)
    parser.add_argument("--shape", choices=["tiny", "base", "small"], default="base")
    arguments = parser.parse_args()
    arguments.name += f"-{arguments.shape}"
    begin(arguments)
    repeats = 2 if arguments.short else arguments.repeats
    checkpoint = scripted_whisper(arguments.cache, arguments.shape)
    heard = recording(arguments.cache, 30.0)
    taking_part = contestants(str(checkpoint.folder), str(heard), BATCHES, N_TOKENS)
    workers = interleaved(chosen(taking_part, arguments), repeats)
    copying = workers.pop(COPY, None)
    rows: dict[str, Any] = {name: summary(worker, 6) for name, worker in workers.items()}
    floors: dict[str, float] = {}
    if copying is not None and copying.seconds:
        shape = SHAPES[arguments.shape]
        # Each byte is read and written, and a step only reads.
        floors = {str(batch): bytes_of_a_step(shape, batch) / 2**30 * median(copying) for batch in BATCHES}
        for name, worker in workers.items():
            if worker.seconds:
                rows[name]["times_the_floor"] = round(median(worker) / floors[name.rsplit(" ", 1)[1]], 2)
    write(
        arguments.out,
        f"one decode step of every row of a batch, whisper-{arguments.shape} shape, from {N_TOKENS[0]} to "
        f"{N_TOKENS[1]} tokens after the prompt, windows of 30 s",
        {"shape": arguments.shape, "n_tokens": N_TOKENS},
        {
            "caveat": CAVEAT,
            "contestants": rows,
            "copy_gib_per_s": None if copying is None else round(1 / median(copying), 1),
            "floor_s": {batch: round(seconds, 6) for batch, seconds in floors.items()},
        },
    )


if __name__ == "__main__":
    main()
