"""Marks and capitals that `punctuate=True` puts into what a CTC model hears, beside what was written of the recording.

    python benchmarks/punctuation.py --speech FOLDER [--text TEXTS] [--model NAME] [--out FILE]

FOLDER holds manifest.jsonl and longform.jsonl; TEXTS the files that the network was made of, of which every 25th
thousand of words was held out: they are measured on, too, with pauses drawn as in training. The recordings are those
whose transcripts have marks: a chapter that the bundled model has learned from (a recogniser that mishears little), its
clips joined; and people it never heard, a sentence each. A mark counts as found where the word before it was heard and
the mark is the same; semicolons, colons and dashes are commas, exclamation marks full stops. The error rate of written
words counts a wrong capital or mark as a wrong word.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, commit, machine
from rapidfuzz.distance import Levenshtein

from auricle import pipeline
from auricle.audio.decode import open_audio
from auricle.loading_punctuation import load_punctuation
from auricle.models.punctuation import ENDS, MARKS
from auricle.speech.punctuation import Punctuator
from auricle.training.punctuation import divided, on_held_out, pauses_at_marks, scores_of, shares_of
from auricle.training.punctuation_text import Said, documents, said

RATE = 16000
PAUSE_S = 0.4  # between clips that are joined, which were cut at pauses


def samples_of(path: Path) -> np.ndarray:
    with open_audio(path, RATE) as audio:
        return np.concatenate(list(audio.blocks()))


def chapter(speech: Path) -> Iterator[tuple[np.ndarray, str]]:
    for line in (speech / "longform.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["name"] == "LJ002_librivox_chapter":
            pause = np.zeros(round(PAUSE_S * RATE), dtype=np.float32)
            clips = [part for clip in row["clips"] for part in (samples_of(speech / clip), pause)]
            yield np.concatenate(clips), row["text"]


def strangers(speech: Path) -> Iterator[tuple[np.ndarray, str]]:
    for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["corpus"] == "common_voice_6_1_sample" and row["language"] == "en" and row["split"] == "test":
            yield samples_of(speech / row["path"]), row["text"]


def places_heard(reference: list[Said], heard: list[Said]) -> list[tuple[int, int]]:
    """Pairs of places of the same word in both, by the alignment with the fewest errors."""
    blocks = Levenshtein.editops([one.word for one in reference], [one.word for one in heard]).as_matching_blocks()
    return [(block.a + step, block.b + step) for block in blocks for step in range(block.size)]


def compare(reference: list[Said], heard: list[Said]) -> dict[str, Any]:
    """Arrays over the places of both: what was written, and what was found there."""
    pairs = places_heard(reference, heard)
    both, alone = {a for a, _ in pairs}, {b for _, b in pairs}
    truth = [*(reference[a] for a, _ in pairs), *(one for place, one in enumerate(reference) if place not in both)]
    n_missed = len(reference) - len(pairs)
    extra = [one for place, one in enumerate(heard) if place not in alone]
    marks = [*(heard[b].mark for _, b in pairs), *[0] * n_missed, *(one.mark for one in extra)]
    starts = [a > 0 and reference[a - 1].mark not in ENDS and heard[b - 1].mark not in ENDS for a, b in pairs]
    return {
        "found": np.array(marks),
        "truth": np.array([*(one.mark for one in truth), *[0] * len(extra)]),
        "capitals": np.array([heard[b].capital for _, b in pairs], dtype=bool) & np.array(starts, dtype=bool),
        "true_capitals": np.array([reference[a].capital for a, _ in pairs], dtype=bool) & np.array(starts, dtype=bool),
    }


def measure(pipe: Any, rows: list[tuple[np.ndarray, str]]) -> dict[str, Any]:
    parts, took, n = [], {True: 0.0, False: 0.0}, 0
    wrong = dict.fromkeys(("words", "written words, plain", "written words, punctuated"), 0)
    for samples, text in rows:
        heard = {}
        for punctuate in (False, True):
            began = time.perf_counter()
            (found,) = pipe.transcripts([samples], punctuate=punctuate)
            took[punctuate] += time.perf_counter() - began
            heard[punctuate] = found.text
        reference = said(text)
        parts.append(compare(reference, said(heard[True])))
        n += len(reference)
        wrong["words"] += Levenshtein.distance([w.word for w in reference], heard[False].split())
        for name, punctuate in (("plain", False), ("punctuated", True)):
            wrong[f"written words, {name}"] += Levenshtein.distance(plain(text), plain(heard[punctuate]))
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    found, truth = joined["found"], joined["truth"]
    return {
        "recordings": len(rows),
        "words": n,
        "seconds": round(sum(len(samples) for samples, _ in rows) / RATE, 1),
        "error rates, per cent": {name: round(100 * count / n, 1) for name, count in wrong.items()},
        **{name: scores_of(found == place, truth == place) for place, name in enumerate(MARKS) if name},
        "any mark": scores_of(found > 0, truth > 0),
        "end of a sentence": scores_of(np.isin(found, ENDS), np.isin(truth, ENDS)),
        "capital within a sentence": scores_of(joined["capitals"], joined["true_capitals"]),
        "seconds without and with marks": [round(took[False], 2), round(took[True], 2)],
    }


def plain(text: str) -> list[str]:
    """Written words with the marks that are told apart here, and no others."""
    table = {";": ",", ":": ",", "!": ".", "—": ",", '"': "", "“": "", "”": "", "’": "'", "-": " "}
    return text.translate(str.maketrans(table)).split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, default=RESULTS / "punctuation-bundled.json")
    arguments = parser.parse_args()
    pipe = pipeline("automatic-speech-recognition", model=arguments.model)
    pipe(np.zeros(RATE, dtype=np.float32), punctuate=True)  # loads the network
    report = {"commit": commit(), "machine": machine(), "model": arguments.model}
    for name, rows in (("a chapter, learned from", chapter), ("20 strangers' sentences", strangers)):
        report[name] = measure(pipe, list(rows(arguments.speech)))
        print(name, json.dumps(report[name], indent=1), flush=True)
    if arguments.text is not None:
        _, held_out = divided(list(documents(arguments.text, arguments.speech / "manifest.jsonl")))
        counts, _ = pauses_at_marks(arguments.speech)
        report["held-out text"] = on_held_out(Punctuator(*load_punctuation()), held_out, shares_of(counts))
        print(json.dumps(report["held-out text"], indent=1), flush=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
