"""Diarization error rate: made conversations of held-out speakers, and one-minute excerpts of real meetings.

    python -m auricle.training diarization voices --speech ../shared/speech
    python -m auricle.training diarization mixtures --speech ../shared/speech --hours 0.1
    python benchmarks/diarization_error.py [--model bundled-diarization] [--speech ../shared/speech] [--data data]

The conversations are one minute long, of 1 to 4 speakers that no network heard, in a room and noise that none heard;
in those "with lulls" nobody speaks for 3 to 12 s at a time, and only the noise goes on. The first third of them once
chose numbers of the bundled model and is left out; 80 more have chosen nothing. `--tune` tries thresholds on
conversations of their own, of the same speakers. Collar 0.25 s, overlap scored; "told" is the same with the number of
speakers given.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import write

from auricle import pipeline
from auricle.evaluation.diarization import DiarizationScore, Scoring, score_diarization
from auricle.evaluation.turns import Turn, Turns, read_turns
from auricle.training.diarization_pool import Pool
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE

RESULTS = Path(__file__).parent / "results"
COLLAR_S = 0.25
LEFT_OUT = 1 / 3  # of the conversations
POOLS = {
    "made conversations of held-out speakers": "mixtures-test",
    "the same with lulls": "mixtures-test-lulls",
}
MORE = "80 more with the usual pauses", "mixtures-more"
TUNED = ("mixtures-tuned", "mixtures-tuned-lulls")


def made_conversations(folder: Path) -> tuple[dict[str, Any], Turns]:
    """Return the sound of each conversation, and who speaks when."""
    pool, sounds, references = Pool(folder), {}, {}
    for row in range(pool.n_rows):
        samples, active = pool.row(row)
        sounds[f"made-{row:03d}"] = {"array": samples, "sampling_rate": SAMPLE_RATE}
        references[f"made-{row:03d}"] = turns_of(active)
    return sounds, references


def reported(sounds: dict[str, Any], references: Turns) -> tuple[dict[str, Any], Turns]:
    """Return the conversations that no number was ever chosen on."""
    names = list(sounds)[round(LEFT_OUT * len(sounds)) :]
    return {name: sounds[name] for name in names}, {name: references[name] for name in names}


def turns_of(active: np.ndarray) -> list[Turn]:
    """Return the turns of (K, N) activity in frames of 10 ms."""
    found = []
    for number, row in enumerate(active):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        second = SAMPLE_RATE / FRAME_SAMPLES
        found += [Turn(f"s{number}", a / second, b / second) for a, b in edges.reshape(-1, 2).tolist()]
    return sorted(found, key=lambda turn: turn.start)


def meetings(folder: Path) -> tuple[dict[str, Any], Turns]:
    """Return the recordings of a folder that one of its RTTM files names, and who speaks when."""
    references: Turns = {}
    for path in sorted(folder.glob("*.rttm")):
        references |= read_turns(path)
    sounds = {
        name: str(path) for name in references for path in sorted(folder.glob(f"{name}.*")) if path.suffix != ".rttm"
    }
    return sounds, {name: references[name] for name in sounds}


def diarized(pipe: Any, sounds: dict[str, Any], references: Turns, is_told: bool, **options: Any) -> Turns:
    """Return what the pipeline finds in each recording."""
    found: Turns = {}
    for name, sound in sounds.items():
        told = {"num_speakers": len({turn.speaker for turn in references[name]})} if is_told else {}
        turns = pipe(sound, **told, **options)["turns"]
        found[name] = [Turn(turn["speaker"], turn["start"], turn["end"]) for turn in turns]
    return found


def figures(score: DiarizationScore) -> dict[str, Any]:
    """Return a score's rates in per cent."""
    whole, low_high = score.all, score.interval()
    parts = {
        part: round(100 * getattr(whole, part) / whole.total, 1) for part in ("missed", "false_alarm", "confusion")
    }
    return {
        "der": round(100 * whole.der, 1),
        "interval": None if low_high is None else [round(100 * low_high.low, 1), round(100 * low_high.high, 1)],
        **parts,
        "jer": round(100 * whole.jer, 1),
        "recordings": len(score.recordings),
        "speech_s": round(whole.total),
    }


def miscounted(references: Turns, heard: Turns) -> dict[str, int]:
    """Return how many speakers too many are found, and in other recordings how many too few."""
    over = [
        len({turn.speaker for turn in heard[name]}) - len({turn.speaker for turn in turns})
        for name, turns in references.items()
    ]
    return {"too_many": sum(max(0, one) for one in over), "too_few": sum(max(0, -one) for one in over)}


def measured(pipe: Any, sounds: dict[str, Any], references: Turns) -> dict[str, Any]:
    """Return the rates with and without the number of speakers, and the real-time factor."""
    found: dict[str, Any] = {}
    for name, is_told in (("found", False), ("told", True)):
        begun = time.perf_counter()
        heard = diarized(pipe, sounds, references, is_told)
        seconds = time.perf_counter() - begun
        found[name] = figures(score_diarization(references, heard, Scoring(collar=COLLAR_S)))
        found[name] |= miscounted(references, heard)
        found[name]["seconds"] = round(seconds, 1)
    return found


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled-diarization")
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--tune", type=float, nargs="+", help="only try these thresholds")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pipe = pipeline("speaker-diarization", arguments.model)
    for threshold in arguments.tune or ():
        for folder in TUNED:
            sounds, references = made_conversations(arguments.data / folder)
            heard = diarized(pipe, sounds, references, False, threshold=threshold)
            rates = figures(score_diarization(references, heard, Scoring(collar=COLLAR_S)))
            print(threshold, folder, rates | miscounted(references, heard), flush=True)
    if arguments.tune:
        return
    rows = {
        name: measured(pipe, *reported(*made_conversations(arguments.data / folder))) for name, folder in POOLS.items()
    }
    rows[MORE[0]] = measured(pipe, *made_conversations(arguments.data / MORE[1]))
    rows["meetings (ami_debug)"] = measured(pipe, *meetings(arguments.speech / "ami_debug"))
    name = Path(arguments.model).name
    out = arguments.out or RESULTS / f"diarization-error-{name.removesuffix('-diarization')}.json"
    write(out, "diarization error rates in per cent", {"model": name, "collar_s": COLLAR_S, "overlap": "scored"}, rows)


if __name__ == "__main__":
    main()
