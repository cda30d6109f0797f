"""Whisper's encoder over one window of 30 s, against the fastest matrix products of this machine and against others'.

    python benchmarks/encoder.py [--shape base] [--repeats 7] [--instructions avx2] [--short]

The floor of an arithmetic is the encoder's multiplications and additions at the rate of the fastest product of its
shapes, measured in the same run. Rates of 8 bits quantise what comes in with one scale, which hears worse
(docs/accuracy.md): a floor to know, not a way to go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from measure import (
    Contestant,
    Measured,
    Worker,
    arguments_of,
    begin,
    chosen,
    has_bfloat16,
    interleaved,
    n_threads,
    summary,
)
from measure import write as write_result
from recordings import recording
from scripted import SHAPES, Shape, scripted_whisper

T, MEL_FRAMES = 1500, 3000
ARITHMETICS = ("float32", "bfloat16", "int8")
CALLS = 10  # products timed at once


def operations(shape: Shape) -> int:
    """Multiplications and additions of a window."""
    D = shape.width
    convolutions = 2 * MEL_FRAMES * 3 * shape.n_mels * D + 2 * T * 3 * D * D
    layer = 2 * T * D * D * 4 + 2 * T * D * 4 * D * 2 + 2 * 2 * T * T * D
    return convolutions + shape.encoder_layers * layer


def product(arithmetic: str, width: int) -> Callable[[], Measured]:
    """The feed-forward network's products, (T, D) x (D, 4D) and (T, 4D) x (4D, D); seconds for 10^12 operations."""
    import torch

    torch.set_num_threads(n_threads())
    calls: list[Callable[[], Any]] = []
    for n_in, n_out in ((width, 4 * width), (4 * width, width)):
        weight, x = torch.randn(n_out, n_in), torch.randn(T, n_in)
        if arithmetic == "int8":
            scales, zeros = weight.abs().amax(1) / 127, torch.zeros(n_out, dtype=torch.int64)
            whole = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
            packed = torch.ops.quantized.linear_prepack(whole, None)
            calls.append(lambda x=x, packed=packed: torch.ops.quantized.linear_dynamic(x, packed))
        else:
            kind = getattr(torch, arithmetic)
            x, layer = x.to(kind), torch.nn.Linear(n_in, n_out, bias=False).to(kind)
            calls.append(lambda x=x, layer=layer: layer(x))
    n_operations = CALLS * 2 * 2 * T * width * 4 * width

    @torch.inference_mode()
    def run() -> Measured:
        started = time.perf_counter()
        for _ in range(CALLS):
            for call in calls:
                call()
        return Measured((time.perf_counter() - started) / n_operations * 1e12)

    return run


def contestants(model: str, heard: str, width: int) -> list[Contestant]:
    """Products in each arithmetic, and encoders."""
    given = {"model": model, "recording": heard}
    found = [
        Contestant(f"product, {name}", "encoder:product", {"arithmetic": name, "width": width})
        for name in ARITHMETICS
        if name != "bfloat16" or has_bfloat16()
    ]
    found += [
        Contestant("auricle", "peers.ours:encoder", given),
        Contestant("CTranslate2 int8", "peers.faster_whisper:encoder", given),
        Contestant("transformers float32", "peers.hugging_face:encoder", given),
        Contestant("openvino f32", "peers.openvino_genai:encoder", {**given, "kind": "f32"}),
        Contestant("openvino int8", "peers.openvino_genai:encoder", {**given, "kind": "int8"}),
    ]
    if has_bfloat16():
        found.append(Contestant("transformers bfloat16", "peers.hugging_face:encoder", {**given, "dtype": "bfloat16"}))
    return found


def floors(workers: dict[str, Worker], n_operations: int) -> dict[str, float]:
    """The least seconds of an encoder in each arithmetic."""
    found = {}
    for name in ARITHMETICS:
        worker = workers.get(f"product, {name}")
        if worker is not None and worker.seconds:
            found[name] = min(worker.seconds) * n_operations / 1e12
    return found


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "encoder", repeats=7)
    parser.add_argument("--shape", choices=["tiny", "base", "small"], default="base")
    arguments = parser.parse_args()
    arguments.name += f"-{arguments.shape}"
    begin(arguments)
    repeats = 2 if arguments.short else arguments.repeats
    shape = SHAPES[arguments.shape]
    checkpoint = scripted_whisper(arguments.cache, arguments.shape)
    heard = recording(arguments.cache, 30.0)
    taking_part = contestants(str(checkpoint.folder), str(heard), shape.width)
    workers = interleaved(chosen(taking_part, arguments), repeats)
    least = floors(workers, operations(shape))
    rows = {}
    for name, worker in workers.items():
        if name.startswith("product"):
            continue
        rows[name] = summary(worker)
        if worker.seconds:
            took = rows[name]["median_s"]
            rows[name]["times_the_floor"] = {arithmetic: round(took / floor, 2) for arithmetic, floor in least.items()}
    write_result(
        arguments.out,
        f"the encoder of the whisper-{arguments.shape} shape over 30 s, from features to states",
        {"shape": arguments.shape, "operations": operations(shape)},
        {
            "contestants": rows,
            "floor_s": {name: round(floor, 4) for name, floor in least.items()},
            "products_gflop_per_s": {name: round(operations(shape) / floor / 1e9, 1) for name, floor in least.items()},
        },
    )


if __name__ == "__main__":
    main()
