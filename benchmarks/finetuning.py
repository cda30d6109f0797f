"""Fine-tuning shown for real: before and after on speakers that no training or validation row is of.

    python benchmarks/finetuning.py digits|nonnative|language --from bundled|whisper [--speech FOLDER]

digits      English digits of six speakers (8 kHz): four teach, one chooses the checkpoint, one is tested
nonnative   English of Mandarin speakers, half of them children (speechocean762), its own split of speakers
language    eight languages other than English, 3 minutes of each (Common Voice), tested on others and on FLEURS

FOLDER holds manifest.jsonl. "whisper" is the encoder of whisper-base with a single new CTC layer, the encoder frozen.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from auricle import pipeline
from auricle.cli.finetune_progress import Lines
from auricle.evaluation import character_errors, word_errors
from auricle.training.finetuning import finetune
from auricle.training.labels import LabelRules
from auricle.training.options import FinetuneOptions

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
TESTED_DIGITS, VALIDATED_DIGITS = "theo", "lucas"
# In Latin letters, and with the same rules for lower case.
LANGUAGES = "it,es,pt,fr,de,nl,pl,sv-SE"
STARTS = {"bundled": "bundled", "whisper": str(ROOT.parent / "shared" / "weights" / "whisper-base-encoder")}


def rows_of(speech: Path, show: str, languages: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows that teach or choose, with a split each, and rows that test."""
    rows = [json.loads(line) for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["path"] = str((speech / row["path"]).resolve())
    if show == "digits":
        rows = [row for row in rows if row.get("corpus") == "fsdd_digits"]
        splits = {TESTED_DIGITS: "test", VALIDATED_DIGITS: "dev"}
        rows = [{**row, "split": splits.get(row["speaker"], "train")} for row in rows]
    elif show == "nonnative":
        rows = [row for row in rows if row.get("corpus") == "speechocean762"]
    else:
        corpora = ("common_voice_6_1_sample", "fleurs50")
        rows = [row for row in rows if row.get("corpus") in corpora and row.get("language") in languages]
    test = [row for row in rows if row["split"] == "test" and row.get("text")]
    learned = [row for row in rows if row["split"] != "test" and row.get("text")]
    heard = {row.get("speaker") for row in test if row.get("speaker")}
    return [row for row in learned if row.get("speaker") not in heard], test


def measure(model: str, test: list[dict[str, Any]], language: str | None) -> dict[str, Any]:
    """Rates of a model through the pipeline, both texts written as labels are."""
    pipe = pipeline("automatic-speech-recognition", model=model)
    rules = LabelRules(language)
    started = time.perf_counter()
    outputs = pipe([row["path"] for row in test], batch_size=8)
    seconds = time.perf_counter() - started
    references = [rules.normalize(row["text"]) for row in test]
    texts = [rules.normalize(output["text"]) for output in outputs]
    words, characters = word_errors(references, texts), character_errors(references, texts)
    pairs = list(zip(references, texts, strict=True))
    by_language: dict[str, float] = {}
    for one in sorted({row["language"] for row in test}):
        own = [pair for row, pair in zip(test, pairs, strict=True) if row["language"] == one]
        by_language[one] = round(character_errors(*zip(*own, strict=True)).rate, 4)
    return {
        "wer": round(words.rate, 4),
        "errors": words.errors,
        "words": words.words,
        "cer": round(characters.rate, 4),
        "cer_by_language": by_language,
        "seconds": round(seconds, 1),
        "pairs": [list(pair) for pair in pairs[:: max(1, len(pairs) // 5)][:5]],
    }


def options_of(show: str, start: str, language: str | None, steps: int | None) -> FinetuneOptions:
    """What differs from the defaults."""
    given: dict[str, Any] = {"language": language, "steps": steps}
    if show == "digits":
        given |= {"batch_seconds": 30.0, "steps": steps or (300 if start == "whisper" else 80)}
    elif show == "language":
        given |= {"batch_seconds": 60.0, "metric": "cer", "validation_share": 0.1, "steps": steps or 400}
    elif start == "bundled":
        # Its own training had these recordings among others: at the default rate it forgets more than it learns.
        given |= {"batch_seconds": 60.0, "steps": steps or 300, "learning_rate": 1e-4}
    if start == "whisper":
        given |= {"freeze": "encoder", "learning_rate": 5e-3}
    return FinetuneOptions(**given)


def main() -> None:
    """Train, measure before and after, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("show", choices=("digits", "nonnative", "language"))
    parser.add_argument("--from", dest="start", choices=sorted(STARTS), default="bundled")
    parser.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech")
    parser.add_argument("--languages", default=LANGUAGES, help="codes of those that are shown")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, help="of the processor; none: all")
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "finetuning")
    arguments = parser.parse_args()
    logging.getLogger("auricle").setLevel(logging.ERROR)  # what is doubtful is counted below
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    languages = arguments.languages.split(",") if arguments.show == "language" else ["en"]
    language = languages[0] if len(languages) == 1 else None
    name = f"{arguments.show}-{arguments.start}"
    folder = arguments.work / name
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    learned, test = rows_of(arguments.speech, arguments.show, languages)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "learned.jsonl"
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in learned), encoding="utf-8")
    options = options_of(arguments.show, arguments.start, language, arguments.steps)
    started = time.perf_counter()
    done = finetune(STARTS[arguments.start], manifest, folder / "model", options, narrator=Lines())
    seconds = time.perf_counter() - started
    last = [json.loads(line) for line in (folder / "model" / "log.jsonl").read_text(encoding="utf-8").splitlines()][-1]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result: dict[str, Any] = {
        "show": name,
        "start": arguments.start,
        "languages": languages,
        "learned": {"rows": len(learned), "minutes": round(sum(row["duration"] for row in learned) / 60, 2)},
        "tested": {
            "rows": len(test),
            "minutes": round(sum(row["duration"] for row in test) / 60, 2),
            "speakers": len({row.get("speaker") for row in test}),
        },
        "options": {key: value for key, value in vars(options).items() if value is not None},
        "steps": done.steps,
        "ended": done.ended,
        "minutes": round(seconds / 60, 2),  # preparing and validation included; of the last call if it was resumed
        "validation": {"wer": done.wer, "cer": done.cer},
        # What cannot write yet is compared with the model that comes with the library.
        "before": {"model": "bundled", **measure("bundled", test, language)},
        "after": measure(str(folder / "model"), test, language),
        "machine": {"processor": platform.processor(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "commit": commit,
    }
    assert last["step"] == done.steps
    (RESULTS / f"finetuning-{name}.json").write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", "utf-8")
    print(json.dumps(result, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
