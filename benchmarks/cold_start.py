"""From a cold process to the text: `auricle transcribe`, beside transformers' pipeline on the same checkpoint.

    python benchmarks/cold_start.py [--repeats 9] [--instructions avx2] [--short]

Whole processes, so that the interpreter, imports, loading and reading the file all count. Files are in the system's
cache after the first turn, which is not counted. Without ffmpeg transformers reads no file: its script decodes the
recording with PyAV, as auricle does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from measure import HERE, Contestant, arguments_of, begin, chosen, interleaved, ratios, summary, texts, write
from recordings import SAMPLES

OURS = "auricle transcribe"
SAMPLE = SAMPLES / "librispeech-1320-122612-0008.ogg"
MODEL = HERE.parent / "src" / "auricle" / "bundled"
PEER = """
import sys
import av, numpy as np
from transformers import pipeline
with av.open(sys.argv[2]) as file:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16000)
    frames = [f for frame in file.decode(audio=0) for f in resampler.resample(frame)] + resampler.resample(None)
samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
print(pipeline("automatic-speech-recognition", model=sys.argv[1])({"raw": samples, "sampling_rate": 16000})["text"])
"""
COMMANDS: dict[str, list[str]] = {
    OURS: ["-m", "auricle", "transcribe", str(SAMPLE)],
    "auricle, in Python": [
        "-c",
        "import sys; from auricle import pipeline; "
        "print(pipeline('automatic-speech-recognition', model='bundled')(sys.argv[1])['text'])",
        str(SAMPLE),
    ],
    "transformers pipeline": ["-c", PEER, str(MODEL), str(SAMPLE)],
    "import torch": ["-c", "import torch"],
    "import transformers.pipeline": ["-c", "from transformers import pipeline"],
}


def process(name: str) -> Callable[[], str]:
    """Run one command to its end; its standard output."""

    def run() -> str:
        done = subprocess.run([sys.executable, *COMMANDS[name]], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return done.stdout.strip()

    return run


def main() -> None:
    """Measure, print, and write the result file."""
    arguments = arguments_of(__doc__, "cold-start", repeats=9).parse_args()
    begin(arguments)
    every = [Contestant(name, "cold_start:process", {"name": name}) for name in COMMANDS]
    workers = interleaved(chosen(every, arguments), 2 if arguments.short else arguments.repeats)
    speaking = {name: worker for name, worker in workers.items() if not name.startswith("import")}
    same = texts(speaking)
    rows: dict[str, Any] = {name: {**summary(worker, 3), **same.get(name, {})} for name, worker in workers.items()}
    for row in rows.values():
        row.pop("peak_mib", None)  # of the process that waits for it
        row.pop("prepared_s", None)
    write(
        arguments.out,
        "a whole process: from the command to the text of a recording of a few seconds with the bundled model; "
        "same_text: as auricle's",
        {"sample": SAMPLE.name},
        {"contestants": rows, "times_as_long_as_ours": ratios(workers, OURS)},
    )


if __name__ == "__main__":
    main()
