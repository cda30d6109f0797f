"""Speech made with Debian's synthesizers: espeak-ng, flite and festival read sentences into 16 kHz WAV files.

The held-out voices (`HELD_OUT_VOICES`) and the held-out sentences are only ever used to score.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from auricle.errors import AudioNotFoundError, MissingExtraError, OptionError
from auricle.training.augment import change_speed
from auricle.training.text import sentences, spoken_form

# A sentence that shares so many words in a row with a tested one is taken to be from it.
SHARED_WORDS = 5

# Corpus name to voice: one of an engine whose other voices teach by the hour, one built from a person's recordings.
HELD_OUT_VOICES = {"synthetic_espeak": "espeak/en-us+Jacky", "synthetic_slt": "flite/slt"}

_ESPEAK_ACCENTS = (
    "en-us en-us en-us en-gb en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc"
).split()
_ESPEAK_VARIANTS = (
    "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 Alex Alicia Andrea Andy Annie adam anika belinda benjamin boris caleb "
    "david ed edward grandma grandpa john linda max michel miguel paul pedro quincy rob robert sandro shelby steph "
    "steph2 travis victor zac Denis Diogo Gene Henrique Hugo Lee Marco Mario Michael Mike"
).split()
_FLITE_VOICES = ("awb", "rms", "kal16")
_FESTIVAL_VOICES = ("kal_diphone", "ked_diphone")
# The voices of flite and festival that teach are men's: every other reading of theirs is turned into a woman's.
_OWN_HERTZ = (85.0, 150.0)  # mean pitch
_WOMENS_HERTZ = (150.0, 240.0)
_WOMENS_SIZE = (0.8, 0.92)


@dataclass(frozen=True)
class Reading:
    """One sentence to be read by one voice."""

    path: str  # of the WAV file, relative to the output folder
    text: str  # as written
    voice: str  # "engine/name"
    rate: float  # speaking rate, 1 is the voice's own
    pitch: float  # 0 to 1, of espeak-ng
    size: float = 1.0  # of the vocal tract, in the voice's own: read more slowly by so much, then played faster
    hertz: float | None = None  # the mean pitch after that, of flite (not rms) and festival; None: its own


def plan(written: Sequence[str], n_readings: dict[str, int], seed: int) -> list[Reading]:
    """Give sentences to voices: `n_readings` says how many each engine reads; the same seed gives the same plan."""
    rng = random.Random(seed)
    readings: list[Reading] = []
    for engine, count in n_readings.items():
        for index, text in enumerate(rng.choices(written, k=count)):
            if engine == "espeak":
                voice = f"{rng.choice(_ESPEAK_ACCENTS)}+{rng.choice(_ESPEAK_VARIANTS)}"
            elif engine == "flite":
                voice = rng.choice(_FLITE_VOICES)
            elif engine == "festival":
                voice = rng.choice(_FESTIVAL_VOICES)
            else:
                raise OptionError(f"the synthesizer {engine!r} is unknown; expected espeak, flite or festival")
            path, rate, pitch = f"{engine}/{index:06d}.wav", rng.uniform(0.85, 1.2), rng.random()
            reading = Reading(path, text, f"{engine}/{voice}", rate, pitch)
            if engine != "espeak":
                is_woman = index % 2 == 1
                size = rng.uniform(*_WOMENS_SIZE) if is_woman else 1.0
                reading = replace(reading, size=size, hertz=rng.uniform(*(_WOMENS_HERTZ if is_woman else _OWN_HERTZ)))
            readings.append(reading)
    return readings


def _espeak(reading: Reading, target: Path) -> None:
    speed, pitch = round(165 * reading.rate), round(25 + 50 * reading.pitch)
    voice = reading.voice.split("/")[1]
    command = [
        "espeak-ng",
        "-v",
        voice,
        "-s",
        str(speed),
        "-p",
        str(pitch),
        "-w",
        str(target),
        "--",
        reading.text,
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _flite(reading: Reading, target: Path) -> None:
    voice = reading.voice.split("/")[1]
    command = ["flite", "-voice", voice, "--setf", f"duration_stretch={1 / (reading.rate * reading.size):.2f}"]
    if reading.hertz is not None:
        command += ["--setf", f"int_f0_target_mean={reading.hertz * reading.size:.0f}"]
    subprocess.run([*command, "-t", reading.text, "-o", str(target)], check=True, capture_output=True, timeout=60)


def _festival(readings: Sequence[Reading], folder: Path) -> None:
    lines = []
    for reading in readings:
        text = reading.text.replace("\\", " ").replace('"', " ")
        lines.append(f"(voice_{reading.voice.split('/')[1]})")
        lines.append(f"(Parameter.set 'Duration_Stretch {1 / (reading.rate * reading.size):.2f})")
        if reading.hertz is not None:
            mean = reading.hertz * reading.size
            pairs = {"target_f0_mean": mean, "target_f0_std": mean / 8, "model_f0_mean": 170, "model_f0_std": 34}
            told = " ".join(f"(list '{name} {value:.1f})" for name, value in pairs.items())
            lines.append(f"(set! int_lr_params (list {told}))")
        lines.append(f'(set! utt (utt.synth (Utterance Text "{text}")))')
        lines.append(f'(utt.save.wave utt "{as_read(folder / reading.path)}" \'riff)')
    with tempfile.NamedTemporaryFile("w", suffix=".scm", encoding="ascii", errors="ignore") as script:
        script.write("\n".join(lines))
        script.flush()
        subprocess.run(["festival", "-b", script.name], check=True, capture_output=True, timeout=3600)
    for reading in readings:
        put_in_place(reading, folder / reading.path)


def as_read(target: Path) -> Path:
    """Where a reading lies before it is played faster: what is left half done is made anew."""
    return target.with_suffix(".read.wav")


def put_in_place(reading: Reading, target: Path) -> None:
    """Put what was read at its place, played faster by as much as the voice is made smaller."""
    made = as_read(target)
    if reading.size != 1.0 and made.exists():
        with wave.open(str(made), "rb") as file:
            rate, n_channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
        if (n_channels, width) != (1, 2):
            raise OptionError(f"{made} has {n_channels} channels of {width} bytes; expected one of 2 bytes")
        faster = change_speed(samples, 1 / reading.size, rate)
        with wave.open(str(made), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(np.clip(faster, -32768, 32767).astype("<i2").tobytes())
    if made.exists():
        made.rename(target)


def _read(reading: Reading, target: Path) -> None:
    (_espeak if reading.voice.startswith("espeak/") else _flite)(reading, as_read(target))
    put_in_place(reading, target)


def read_aloud(readings: Sequence[Reading], folder: Path, n_workers: int = 2) -> None:
    """Make the WAV file of every reading that has none yet."""
    missing = [reading for reading in readings if not (folder / reading.path).exists()]
    for engine in {reading.voice.split("/")[0] for reading in missing}:
        program = "espeak-ng" if engine == "espeak" else engine
        if shutil.which(program) is None:
            raise MissingExtraError(f"the program {program!r} is needed to make speech; install Debian's {program}")
    for reading in missing:
        (folder / reading.path).parent.mkdir(parents=True, exist_ok=True)
    festival = [reading for reading in missing if reading.voice.startswith("festival/")]
    batches = [festival[start : start + 100] for start in range(0, len(festival), 100)]
    single = [reading for reading in missing if not reading.voice.startswith("festival/")]
    with ThreadPoolExecutor(n_workers) as pool:
        jobs = [pool.submit(_festival, batch, folder) for batch in batches]
        for reading in single:
            jobs.append(pool.submit(_read, reading, folder / reading.path))
        for job in jobs:
            job.result()
    silent = [reading for reading in missing if not (folder / reading.path).exists()]
    if silent:
        raise AudioNotFoundError(
            f"{len(silent)} readings gave no file, such as {silent[0].path} of {silent[0].text!r}; try the voice "
            f"{silent[0].voice} by hand"
        )


def without_tested(written: Iterable[str], manifest: Path) -> list[str]:
    """The sentences that share no `SHARED_WORDS` words in a row with a transcript of the manifest's test split."""
    tested: set[tuple[str, ...]] = set()
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("split") == "test":
            tested.update(_runs(row.get("text") or ""))
    return [sentence for sentence in written if tested.isdisjoint(_runs(sentence))]


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = (spoken_form(text) or "").split()
    return (tuple(words[start : start + SHARED_WORDS]) for start in range(len(words) - SHARED_WORDS + 1))


def make_corpus(
    text_folder: Path, folder: Path, n_readings: dict[str, int], tested: Path | None = None, n_held_out: int = 300
) -> None:
    """Write synthetic speech and its manifest.jsonl: training readings, and held-out voices on held-out sentences.

    `tested` is a manifest of recordings that score; sentences that they say are not read.
    """
    written = list(sentences(text_folder))
    if tested is not None:
        written = without_tested(written, tested)
    random.Random(1).shuffle(written)
    held_out, training = written[:n_held_out], written[n_held_out:]
    readings = plan(training, n_readings, seed=2)
    test = [
        (corpus, Reading(f"{corpus}/{index:04d}.wav", text, voice, 1.0, 0.5))
        for corpus, voice in HELD_OUT_VOICES.items()
        for index, text in enumerate(held_out)
    ]
    rows = [("test", corpus, reading) for corpus, reading in test]
    rows += [("train", "synthetic", reading) for reading in readings]
    folder.mkdir(parents=True, exist_ok=True)
    read_aloud([reading for _, _, reading in rows], folder)
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for split, corpus, reading in rows:
            fields = {"split": split, "corpus": corpus, "speaker": reading.voice, "language": "en"}
            manifest.write(json.dumps({**asdict(reading), **fields}) + "\n")
