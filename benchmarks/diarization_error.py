"""Diarization error rate: made conversations of held-out speakers, and one-minute excerpts of real meetings.

    python -m auricle.training diarization voices --speech ../shared/speech
    python -m auricle.training diarization mixtures --speech ../shared/speech --hours 0.1
    python benchmarks/diarization_error.py [--model bundled-diarization] [--speech ../shared/speech] [--data data]

The conversations are one minute long, of 1 to 4 speakers that no network heard, in a room and noise that none heard;
in those "with lulls" nobody speaks for 3 to 12 s at a time, and only the noise goes on. The first third of them chose
the numbers of the bundled model; the others are what is reported. Collar 0.25 s, overlap scored; "told" is the same
with the number of speakers given.
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
TUNED = 1 / 3  # of the conversations
POOLS = {
    "made conversations of held-out speakers": "mixtures-test",
    "the same with lulls": "mixtures-test-lulls",
}


def made_conversations(folder: Path) -> tuple[dict[str, Any], Turns]:
    """Return the sound of each conversation, and who speaks when."""
    pool, sounds, references = Pool(folder), {}, {}
    for row in range(pool.n_rows):
        samples, active = pool.row(row)
        sounds[f"made-{row:03d}"] = {"array": samples, "sampling_rate": SAMPLE_RATE}
        references[f"made-{row:03d}"] = turns_of(active)
    return sounds, references


def part_of(sounds: dict[str, Any], references: Turns, is_tuned: bool) -> tuple[dict[str, Any], Turns]:
    """Return the conversations that numbers were chosen on, or the others."""
    names = list(sounds)
    n_tuned = round(TUNED * len(names))
    chosen = names[:n_tuned] if is_tuned else names[n_tuned:]
    return {name: sounds[name] for name in chosen}, {name: references[name] for name in chosen}


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


def measured(pipe: Any, sounds: dict[str, Any], references: Turns) -> dict[str, Any]:
    """Return the rates with and without the number of speakers, and the real-time factor."""
    found: dict[str, Any] = {}
    for name, is_told in (("found", False), ("told", True)):
        begun = time.perf_counter()
        heard = diarized(pipe, sounds, references, is_told)
        seconds = time.perf_counter() - begun
        found[name] = figures(score_diarization(references, heard, Scoring(collar=COLLAR_S)))
        found[name]["seconds"] = round(seconds, 1)
    return found


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled-diarization")
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--tune", type=float, nargs="+", help="only try these thresholds on the first third of each")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pipe = pipeline("speaker-diarization", arguments.model)
    made = {name: made_conversations(arguments.data / folder) for name, folder in POOLS.items()}
    if arguments.tune:
        for threshold in arguments.tune:
            for name, (sounds, references) in made.items():
                chosen = part_of(sounds, references, is_tuned=True)
                heard = diarized(pipe, *chosen, False, threshold=threshold)
                print(
                    threshold, name, figures(score_diarization(chosen[1], heard, Scoring(collar=COLLAR_S))), flush=True
                )
        return
    rows = {name: measured(pipe, *part_of(*found, is_tuned=False)) for name, found in made.items()}
    rows["meetings (ami_debug)"] = measured(pipe, *meetings(arguments.speech / "ami_debug"))
    name = Path(arguments.model).name
    out = arguments.out or RESULTS / f"diarization-error-{name.removesuffix('-diarization')}.json"
    write(out, "diarization error rates in per cent", {"model": name, "collar_s": COLLAR_S, "overlap": "scored"}, rows)


if __name__ == "__main__":
    main()
