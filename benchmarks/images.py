"""Images a second of image classification beside transformers, on the same random checkpoints of true size.

Both pipelines get the same JPEG files, in turns, and the median of the rounds counts: decoding, resizing, network and
labels. `python -m benchmarks.images --out benchmarks/results/images.json`
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.measure import machine

SIZES = (1, 8)  # images a call
STANDARD = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def checkpoints(folder: Path) -> dict[str, Path]:
    """Write a random checkpoint of each family, with the processor of the published one."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    labels = {"num_labels": 1000}
    edge = {"size": {"shortest_edge": 224}, **STANDARD}
    made: dict[str, tuple[Any, Any]] = {
        "vit-base": (t.ViTForImageClassification(t.ViTConfig(**labels)), t.ViTImageProcessorPil()),
        "dinov2-base": (
            t.Dinov2ForImageClassification(t.Dinov2Config(image_size=518, **labels)),
            t.BitImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, **STANDARD),
        ),
        "convnext-tiny": (
            t.ConvNextForImageClassification(t.ConvNextConfig(**labels)),
            t.ConvNextImageProcessorPil(**edge),
        ),
        "resnet-50": (t.ResNetForImageClassification(t.ResNetConfig(**labels)), t.ConvNextImageProcessorPil(**edge)),
    }
    for name, (model, processor) in made.items():
        model.eval().save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return {name: folder / name for name in made}


def photographs(folder: Path, n: int) -> list[str]:
    """Write JPEG files of 500 by 375 points, as photographs of the Hub's examples have, with edges and noise."""
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = []
    for number in range(n):
        coarse = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
        paths.append(str(folder / f"{number}.jpg"))
        Image.fromarray(noisy).save(paths[-1], quality=90)
    return paths


def compare(folder: Path, paths: list[str], rounds: int) -> dict[str, Any]:
    """Time both on one checkpoint; seconds an image."""
    import transformers

    from auricle import pipeline

    with contextlib.redirect_stderr(io.StringIO()):
        theirs = transformers.pipeline("image-classification", str(folder), device="cpu", dtype="float32")
    ours = pipeline("image-classification", folder, device="cpu")
    found: dict[str, Any] = {"engine": type(ours.engine).__name__, "arithmetic": ours.engine.arithmetic}
    apart = []
    for path in paths[:2]:
        expected = {one["label"]: one["score"] for one in theirs(path, top_k=1000)}
        apart += [abs(one["score"] - expected[one["label"]]) for one in ours(path, top_k=None)]
    found["largest difference of a score"] = max(apart)
    for size in SIZES:
        calls = {
            "auricle": lambda size=size: ours(paths[:size], batch_size=size),
            "transformers": lambda size=size: theirs(paths[:size], batch_size=size),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(rounds + 1):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                if number:  # the first is for warming up
                    times[name].append((time.perf_counter() - began) / size)
        medians = {name: statistics.median(one) for name, one in times.items()}
        found[f"batch {size}"] = {
            "seconds an image": medians,
            "spread": {name: [min(one), max(one)] for name, one in times.items()},
            "times faster": medians["transformers"] / medians["auricle"],
        }
    return found


def main() -> None:
    """Run the comparison and write or print its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", help="names of checkpoints")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = photographs(folder, max(SIZES))
        results = {
            name: compare(one, paths, given.rounds)
            for name, one in checkpoints(folder).items()
            if not given.only or name in given.only
        }
    for name, found in results.items():
        for size in SIZES:
            one = found[f"batch {size}"]
            seconds = ", ".join(f"{who} {value * 1000:.0f} ms" for who, value in one["seconds an image"].items())
            print(f"{name} | batch {size} | {seconds} | {one['times faster']:.2f} times", flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
