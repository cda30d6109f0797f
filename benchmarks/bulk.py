"""A whole dataset: its rate beside one recording after another, and the memory of many rows.

    python benchmarks/bulk.py [--rows 400] [--many 1000 30000] [--read 1000000] [--speech FOLDER] [--short]

Rate: `auricle transcribe` of a manifest of people's recordings, in batches of like length while the next ones are read,
beside the pipeline called with one file after another; the bundled model, greedy, and the same texts. Memory: runs
over manifests of many rows, all of one recording of a fifth of a second without voice, each in a process of its own;
and a manifest of more rows yet that is opened and read through without its sound.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Contestant, arguments_of, begin, interleaved, ratios, summary, texts, write
from recordings import SPEECH

RATE = 16000
BULK, SINGLE = "auricle, a dataset", "auricle, one file after another"


def manifest_of_people(folder: Path, speech: Path, n_rows: int) -> tuple[Path, float]:
    """The first recordings of LibriSpeech's test split, as a manifest, and how many hours they are."""
    lines = (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row.get("corpus") == "librispeech_test_clean"][:n_rows]
    path = folder / "people.jsonl"
    made = [{"audio": str((speech / row["path"]).resolve()), "text": row["text"]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path, sum(row["duration"] for row in rows) / 3600


def manifest_of_one(folder: Path, n_rows: int) -> Path:
    """Many rows, each with an id, of one short recording of faint noise."""
    sound = folder / "nothing.wav"
    if not sound.is_file():
        samples = np.random.default_rng(0).integers(-3, 4, RATE // 5, dtype=np.int16)
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples.tobytes())
    path = folder / f"rows-{n_rows}.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(n_rows):
            lines.write(json.dumps({"id": f"row {number}", "audio": sound.name, "text": "nothing is said"}) + "\n")
    return path


def whole(manifest: str) -> Callable[[], str]:
    """Transcribe a manifest into shards; its texts, or how many there are if all are empty."""
    import torch
    from measure import n_threads

    from auricle import pipeline
    from auricle.bulk import BulkOptions, transcribe_corpus
    from auricle.corpora import open_corpus

    torch.set_num_threads(n_threads())
    pipe: Any = pipeline("automatic-speech-recognition")
    out = Path(manifest).with_suffix("")

    def transcribe() -> str:
        shutil.rmtree(out, ignore_errors=True)
        transcribe_corpus(pipe, open_corpus(manifest), out, BulkOptions(parameters={"lm": False}))
        told = [json.loads(line)["text"] for one in sorted(out.glob("shard-*.jsonl")) for line in one.open()]
        return " ".join(text for text in told if text) or f"{len(told)} rows without text"

    return transcribe


def single(manifest: str) -> Callable[[], str]:
    """The same recordings, one call each."""
    import torch
    from measure import n_threads

    from auricle import pipeline

    torch.set_num_threads(n_threads())
    pipe: Any = pipeline("automatic-speech-recognition")
    paths = [json.loads(line)["audio"] for line in Path(manifest).read_text(encoding="utf-8").splitlines()]
    return lambda: " ".join(pipe(path, lm=False)["text"] for path in paths)


def reading(manifest: str) -> Callable[[], int]:
    """Open a manifest and go through its rows without their sound; how many there are."""
    from auricle.corpora import open_corpus

    return lambda: sum(1 for _ in open_corpus(manifest))


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "bulk", repeats=2)
    parser.add_argument("--rows", type=int, default=400, help="recordings of people, for the rate")
    parser.add_argument("--many", type=int, nargs="+", default=[1000, 30_000], help="rows, for the memory")
    parser.add_argument("--read", type=int, default=1_000_000, help="rows that are only read through")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    arguments = parser.parse_args()
    begin(arguments)
    n_rows, many, n_read = arguments.rows, arguments.many, arguments.read
    if arguments.short:
        n_rows, many, n_read = 24, [300, 3000], 20_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        people, hours = manifest_of_people(folder, arguments.speech, n_rows)
        rated = interleaved(
            [Contestant(BULK, "bulk:whole", {"manifest": str(people)}),
             Contestant(SINGLE, "bulk:single", {"manifest": str(people)})],
            arguments.repeats, warm_ups=0,
        )  # fmt: skip
        rows: dict[str, Any] = {}
        for label, work, number in [
            *((f"{number} rows transcribed", "bulk:whole", number) for number in many),
            (f"{n_read} rows read through", "bulk:reading", n_read),
        ]:
            manifest = manifest_of_one(folder, number)
            started = time.perf_counter()
            worker = interleaved([Contestant(label, work, {"manifest": str(manifest)})], 1, warm_ups=0)[label]
            rows[label] = {**summary(worker, 1), "told": worker.output}
            print(f"{label}: {time.perf_counter() - started:.1f} s, {worker.peak_mib:.0f} MiB", flush=True)
            manifest.unlink()
        peaks = [rows[f"{number} rows transcribed"].get("peak_mib", 0) for number in many]
    write(
        arguments.out,
        "a dataset transcribed, beside one file after another; and the most memory of runs over many rows",
        {"rows": n_rows, "hours": round(hours, 3), "model": "bundled, greedy"},
        {
            "contestants": {name: summary(one, 1) for name, one in rated.items()},
            "hours_of_sound_per_minute": {
                name: round(hours / (min(one.seconds) / 60), 3) for name, one in rated.items() if one.seconds
            },
            "times as long as a dataset": ratios(rated, BULK),
            "texts": texts(rated),
            "memory": rows,
            "most_less_least_mib": peaks[-1] - peaks[0],
        },
    )


if __name__ == "__main__":
    main()
