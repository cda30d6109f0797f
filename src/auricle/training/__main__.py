"""`python -m auricle.training`: make the bundled model, one step a command.

synthesize  text -> speech by Debian's synthesizers
prepare     recordings -> stored features
teach       recordings -> a Whisper encoder's states of them
align       stored features -> where their words are, by a trained model
train       stored features -> a run (killed and started again, it goes on)
curve       a run's snapshots -> word error rates
language-model  texts -> the n-gram model beside the bundled model
punctuation  texts -> the network that puts marks and capitals into transcripts
export      a run -> a checkpoint folder
all         all of these, one after the other, --again with a second run; what is made already is not made again

diarization     the networks that tell who speaks, see pretrain_diarization.py

whisper-decoder  the same for a decoder upon a Whisper encoder, see whisper_commands.py
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from auricle.training import pretrain_diarization, whisper_commands

# Shares of each corpus heard in an epoch: of people about 9 hours, a quarter of the four variants stored of each
# recording; of learners of English less, whose words often differ from the prompt that is their transcript.
WEIGHTS = {
    "common_voice_6_1_sample": 0.25,
    "common_voice_en_extra": 0.25,
    "kathleen_arctic": 0.25,
    "librispeech_train_clean_100_4spk": 0.25,
    "librivox_sense_sensibility": 0.25,
    "ljspeech_LJ001_LJ002": 0.25,
    "mini_librispeech_train_clean_5": 0.25,
    "pocketsphinx_cards": 0.25,
    "speechbrain_2spk": 0.25,
    "speechocean762": 0.12,
    "synthetic": 0.2,
    "unwritten": 0.5,
}
# Of a second run from trained weights: rates that rise to this share of the usual ones, and another order.
AGAIN_PEAK, AGAIN_SEED = 0.8, 2
READINGS = {"espeak": 8000, "flite": 9000, "festival": 3000}


def read_arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line, or end the process with what is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m auricle.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    synthesize = commands.add_parser("synthesize", help="make synthetic speech")
    synthesize.add_argument("--text", type=Path, required=True, help="folder of text files")
    synthesize.add_argument("--tested", type=Path, help="a manifest whose test sentences are not to be read")
    synthesize.add_argument("--out", type=Path, default=Path("data/synthetic"))
    prepare = commands.add_parser("prepare", help="compute features once")
    prepare.add_argument("--speech", type=Path, required=True, help="folder with manifest.jsonl")
    prepare.add_argument("--synthetic", type=Path, default=Path("data/synthetic"))
    prepare.add_argument("--out", type=Path, default=Path("data/features"))
    teach = commands.add_parser("teach", help="encode the training recordings with a Whisper encoder")
    teach.add_argument("--speech", type=Path, required=True, help="folder with manifest.jsonl")
    teach.add_argument(
        "--synthetic", type=Path, help="the folder that `synthesize` made, if its voices are to be encoded, too"
    )
    teach.add_argument("--encoder", type=Path, required=True, help="folder with the encoder's tensors as .npy")
    teach.add_argument("--out", type=Path, default=Path("data/teacher"))
    align = commands.add_parser("align", help="find the words of stored features, to make new sentences of them")
    align.add_argument("--features", type=Path, default=Path("data/features"))
    align.add_argument("--model", type=Path, required=True, help="a checkpoint folder of the same shape")
    align.add_argument("--out", type=Path, default=Path("data/words.json"))
    _add_train(commands.add_parser("train", help="train, or go on training"))
    curve = commands.add_parser("curve", help="score a run's snapshots")
    curve.add_argument("--features", type=Path, default=Path("data/features"))
    curve.add_argument("--run", type=Path, default=Path("runs/bundled"))
    curve.add_argument("--most", type=int, default=50, help="utterances per corpus")
    _add_export(commands.add_parser("export", help="write a checkpoint folder"))
    words = commands.add_parser("language-model", help="estimate an n-gram model of words")
    words.add_argument(
        "--synthetic", type=Path, help="the folder that `synthesize` made: its held-out sentences are left out"
    )
    words.add_argument("--out", type=Path, required=True, help="a checkpoint's folder language_model")
    marks = commands.add_parser("punctuation", help="train the network of marks and capitals")
    marks.add_argument("--out", type=Path, default=Path("data/punctuation"))
    marks.add_argument("--epochs", type=float, default=12.0)
    every = commands.add_parser("all", help="from texts and recordings to a checkpoint folder")
    for one in (words, marks, every):
        one.add_argument("--text", type=Path, required=True, help="folder of text files")
        one.add_argument("--speech", type=Path, required=True, help="folder with manifest.jsonl")
    every.add_argument("--encoder", type=Path, help="a Whisper encoder's folder, whose states are predicted, too")
    every.add_argument("--aligner", type=Path, help="a model of the same shape, by which words make new sentences")
    every.add_argument("--minutes", type=float, required=True, help="of training in all, those of --again aside")
    every.add_argument(
        "--again",
        type=float,
        metavar="MINUTES",
        help="of a second run from the weights of the first, whose mean with them is the model: less wrong than both",
    )
    every.add_argument("--data", type=Path, default=Path("data"))
    every.add_argument("--run", type=Path, default=Path("runs/bundled"))
    every.add_argument("--out", type=Path, required=True)
    every.add_argument("--name", required=True, help="what the model calls itself")
    every.add_argument("--summary", required=True, help="one line about it")
    voices = commands.add_parser("diarization", help="train the networks that tell who speaks")
    pretrain_diarization.add_arguments(voices)
    whisper = commands.add_parser("whisper-decoder", help="train a decoder upon a frozen Whisper encoder")
    whisper_commands.add_arguments(whisper)
    return parser.parse_args(given)


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("--features", type=Path, default=Path("data/features"))
    train.add_argument("--run", type=Path, default=Path("runs/bundled"))
    train.add_argument("--minutes", type=float, required=True, help="the whole run's budget")
    train.add_argument("--start-from", type=Path, help="a checkpoint folder whose weights a new run begins with")
    train.add_argument("--teacher", type=Path, help="the folder that `teach` wrote: its states are predicted, too")
    train.add_argument(
        "--peak", type=float, default=1.0, help="share of the usual rates, less where trained weights go on"
    )
    train.add_argument(
        "--clean-share", type=float, default=0.6, help="of the recordings heard: as they are, without rooms and noise"
    )
    train.add_argument("--words", type=Path, help="the file that `align` wrote: its words make new sentences")
    train.add_argument(
        "--spliced-share", type=float, default=0.5, help="of the recordings heard: made of others' words, with --words"
    )
    train.add_argument("--dropout", type=float, default=0.1, help="share of what each part of a block adds")
    train.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of order and disturbances: another one where a run goes on from the last's weights",
    )


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("--run", type=Path, default=Path("runs/bundled"))
    export.add_argument("--out", type=Path, required=True)
    export.add_argument(
        "--mean-with",
        type=Path,
        nargs="+",
        default=[],
        help="checkpoint folders, such as the one the run began from: the mean of all is written",
    )
    export.add_argument("--name", required=True, help="what the model calls itself")
    export.add_argument("--summary", required=True, help="one line with its measured accuracy")


def _curve(arguments: argparse.Namespace) -> None:
    from auricle.training.pretrain_ctc import CONFIG
    from auricle.training.score import score

    with (arguments.run / "curve.jsonl").open("w", encoding="utf-8") as file:
        for snapshot in sorted(arguments.run.glob("average-*.pt")):
            row: dict[str, object] = {"minutes": int(snapshot.stem.split("-")[1])}
            for split in ("dev", "test"):
                rates = score(snapshot, CONFIG, arguments.features, split, arguments.most)
                row[split] = {corpus: round(rate, 4) for corpus, rate in rates.items()}
            print(json.dumps(row))
            file.write(json.dumps(row) + "\n")


def _teach(arguments: argparse.Namespace) -> None:
    from auricle.training.data import MAX_SECONDS, source_of, taught_rows
    from auricle.training.teacher import teach

    rows = taught_rows(arguments.speech, arguments.synthetic)
    teach(((source_of(row), row.path) for row in rows), arguments.encoder, arguments.out, MAX_SECONDS)


def _align(arguments: argparse.Namespace) -> None:
    from auricle.training.pretrain_ctc import CONFIG
    from auricle.training.word_places import place_words

    n_found, n_all = place_words(arguments.features, arguments.model, CONFIG, arguments.out)
    print(f"words of {n_found} of {n_all} recordings found")


def _language_model(arguments: argparse.Namespace) -> None:
    from auricle.decoding.compact_ngram import write_compact
    from auricle.training.derived_words import with_derived
    from auricle.training.language_model import WEIGHTS as FUSION_WEIGHTS
    from auricle.training.language_model import estimate, natural, read_sentences

    held_out = arguments.synthetic / "manifest.jsonl" if arguments.synthetic is not None else None
    sentences = list(read_sentences(arguments.text, arguments.speech / "manifest.jsonl", held_out))
    counts = Counter(word for words in sentences for word in words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_compact(natural(with_derived(estimate(sentences), counts)), arguments.out / "words.safetensors")
    (arguments.out / "attrs.json").write_text(json.dumps(FUSION_WEIGHTS) + "\n", encoding="utf-8")


def steps_of(arguments: argparse.Namespace) -> list[tuple[Path, list[str]]]:
    """Return the commands of `all`, each with the file that tells that it is done."""
    data, speech, text, run, out = (getattr(arguments, name) for name in ("data", "speech", "text", "run", "out"))
    synthetic, features, teacher = (data / name for name in ("synthetic", "features", "teacher"))
    manifest, words, language_model = speech / "manifest.jsonl", data / "words.json", out / "language_model"
    teach: list[object] = ["teach", "--speech", speech, "--encoder", arguments.encoder, "--out", teacher]
    train: list[object] = ["train", "--features", features]
    steps: list[tuple[Path, list[object]]] = [
        (synthetic / "manifest.jsonl", ["synthesize", "--text", text, "--tested", manifest, "--out", synthetic]),
        (features / "index.json", ["prepare", "--speech", speech, "--synthetic", synthetic, "--out", features]),
    ]
    if arguments.encoder is not None:
        steps.append((teacher / "index.json", teach))
        train += ["--teacher", teacher]
    if arguments.aligner is not None:
        steps.append(_aligned(features, arguments.aligner, words))
    known = ["--words", words] if arguments.aligner is not None else []
    steps.append(
        (run / f"finished-{arguments.minutes:g}", [*train, "--run", run, "--minutes", arguments.minutes, *known])
    )
    card: list[object] = ["--name", arguments.name, "--summary", arguments.summary]
    if arguments.again is None:
        steps.append((out / "config.json", ["export", "--run", run, "--out", out, *card]))
    else:
        first, again = run / f"after-{arguments.minutes:g}", run / "again"
        steps.append((first / "auricle.json", ["export", "--run", run, "--out", first, *card]))
        if arguments.aligner is None:
            steps.append(_aligned(features, first, words))
        further = [*train, "--run", again, "--minutes", arguments.again, "--words", words]
        further += ["--start-from", first, "--peak", AGAIN_PEAK, "--seed", AGAIN_SEED]
        steps += [
            (again / f"finished-{arguments.again:g}", further),
            (out / "config.json", ["export", "--run", again, "--mean-with", first, "--out", out, *card]),
        ]
    told = ["--text", text, "--speech", speech, "--synthetic", synthetic]
    steps.append((language_model / "attrs.json", ["language-model", *told, "--out", language_model]))
    return [(done, [str(one) for one in step]) for done, step in steps]


def _aligned(features: Path, model: Path, words: Path) -> tuple[Path, list[object]]:
    return words, ["align", "--features", features, "--model", model, "--out", words]


def main(given: Sequence[str] | None = None) -> None:
    """Run one command."""
    arguments = read_arguments(given)
    if arguments.command == "all":
        for done, step in steps_of(arguments):
            if not done.exists():
                print(f"{step[0]} ...", flush=True)
                main(step)
    elif arguments.command == "synthesize":
        from auricle.training.synthesize import make_corpus

        make_corpus(arguments.text, arguments.out, READINGS, arguments.tested)
    elif arguments.command == "prepare":
        from auricle.training.data import prepare

        prepare(arguments.speech, arguments.synthetic, arguments.out, n_mels=80)
    elif arguments.command == "teach":
        _teach(arguments)
    elif arguments.command == "align":
        _align(arguments)
    elif arguments.command == "train":
        from auricle.training.pretrain_ctc import TrainOptions, train

        train(
            arguments.features,
            arguments.run,
            TrainOptions(
                minutes=arguments.minutes,
                weights=WEIGHTS,
                peak=arguments.peak,
                clean_share=arguments.clean_share,
                spliced_share=arguments.spliced_share,
                dropout=arguments.dropout,
                seed=arguments.seed,
            ),
            arguments.start_from,
            arguments.teacher,
            arguments.words,
        )
    elif arguments.command == "curve":
        _curve(arguments)
    elif arguments.command == "language-model":
        _language_model(arguments)
    elif arguments.command == "punctuation":
        from auricle.training import punctuation

        punctuation.make(arguments.text, arguments.speech, arguments.out, arguments.epochs)
    elif arguments.command == "diarization":
        pretrain_diarization.main(arguments)
    elif arguments.command == "whisper-decoder":
        whisper_commands.main(arguments)
    else:
        import torch

        from auricle.training.export import export, mean_of
        from auricle.training.pretrain_ctc import CONFIG

        tensors = mean_of(torch.load(arguments.run / "run.pt", weights_only=True)["average"], arguments.mean_with)
        # The letters of ALPHABET are those of English.
        card = {"name": arguments.name, "summary": arguments.summary, "languages": ["en"]}
        export(tensors, CONFIG, arguments.out, card)


if __name__ == "__main__":
    main()
