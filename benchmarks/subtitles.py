"""How well subtitles of human speech keep the published rules, and how long shaping takes.

    python benchmarks/subtitles.py --speech FOLDER [--out FILE]

FOLDER holds manifest.jsonl; its rows with word_times, joined one after the other, are one transcript without
punctuation, so that pauses and phrases alone say where to break.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from auricle.results import Segment, Transcript, Word
from auricle.speech.phrases import Break, break_between
from auricle.speech.subtitles import Cue, SubtitleRules, shape

RESULTS = Path(__file__).parent / "results"
# A silence below this is no reason to break.
PAUSE_S = 0.15
# A hundredth of a microsecond: sums of floats.
CLOSE = 1e-8


def joined(manifest: Path) -> Transcript:
    """One transcript of every English recording whose word times are known."""
    segments, start = [], 0.0
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts, times = row.get("text", "").split(), row.get("word_times") or []
        if row.get("language", "en") != "en" or not texts or len(texts) != len(times):
            continue
        words = tuple(
            Word(f" {text.lower()}", start + since, start + until, 1.0)
            for text, (since, until) in zip(texts, times, strict=True)
        )
        segments.append(Segment("".join(word.text for word in words), words[0].start, words[-1].end, words))
        start += row["duration"]
    return Transcript("".join(segment.text for segment in segments), tuple(segments), language="en", duration=start)


def measure(cues: list[Cue], rules: SubtitleRules) -> dict[str, Any]:
    """Shares of subtitles that break a rule, and what their ends and lines separate."""
    speeds = [len(cue.text) / (cue.end - cue.start) for cue in cues]
    ends = Counter(
        break_between(cue.words[-1].text, after.words[0].text, "en").name
        for cue, after in pairwise(cues)
        if after.words[0].start - cue.words[-1].end < PAUSE_S
    )
    rows = Counter(
        break_between(above[-1].text, below[0].text, "en").name for cue in cues for above, below in pairwise(cue.rows)
    )
    return {
        "subtitles": len(cues),
        "characters_each": round(sum(len(cue.text) for cue in cues) / len(cues), 1),
        "lines_too_long": sum(len(line) > rules.max_line_length for cue in cues for line in cue.lines),
        "too_short": sum(cue.end - cue.start < rules.min_duration - CLOSE for cue in cues),
        "too_long": sum(cue.end - cue.start > rules.max_duration + CLOSE for cue in cues),
        "gaps_too_small": sum(after.start - cue.end < rules.min_gap - CLOSE for cue, after in pairwise(cues)),
        "share_above_17_per_second": round(sum(speed > 17 + CLOSE for speed in speeds) / len(cues), 3),
        "share_above_20_per_second": round(sum(speed > 20 + CLOSE for speed in speeds) / len(cues), 3),
        "late_most_s": round(max(cue.start - cue.words[0].start for cue in cues), 3),
        "ends_without_a_pause": {kind.name: ends[kind.name] for kind in Break},
        "line_breaks": {kind.name: rows[kind.name] for kind in Break},
    }


def main() -> None:
    """Shape, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "subtitles.json")
    arguments = parser.parse_args()
    transcript = joined(arguments.speech / "manifest.jsonl")
    started = time.process_time()
    cues = shape(transcript)
    seconds = time.process_time() - started
    result = {
        "what": "subtitles of unpunctuated human speech by the default rules",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
        "machine": platform.processor() or platform.machine(),
        "hours": round((transcript.duration or 0.0) / 3600, 2),
        "words": len(transcript.words),
        "seconds_of_processor": round(seconds, 2),
        **measure(cues, SubtitleRules()),
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
