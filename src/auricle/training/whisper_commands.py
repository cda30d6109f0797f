"""`python -m auricle.training whisper-decoder`: a decoder for a Whisper encoder, one step a command.

clips    recordings -> clips with word times
prepare  clips -> packs of encoded windows
train    packs -> a run, and a checkpoint folder that is renewed while it trains
export   a run -> a checkpoint folder
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

PACKS = ("held-out", "held-out-test", "speech-0", "speech-1", "synthetic-0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The steps and their arguments."""
    steps = parser.add_subparsers(dest="step", required=True)
    clips = steps.add_parser("clips", help="find when each word was said")
    clips.add_argument("--speech", type=Path, required=True, help="folder with manifest.jsonl")
    clips.add_argument("--synthetic", type=Path, help="the folder that `synthesize` made")
    prepare = steps.add_parser("prepare", help="join clips into windows and encode them")
    prepare.add_argument("--speech", type=Path, required=True, help="folder with manifest.jsonl")
    prepare.add_argument("--packs", nargs="+", default=list(PACKS), help="held-out, held-out-test, KIND-NUMBER")
    train = steps.add_parser("train", help="train, or go on training")
    train.add_argument("--minutes", type=float, required=True, help="the whole run's budget")
    train.add_argument("--save-minutes", type=float, default=10.0, help="between two checkpoints")
    export = steps.add_parser("export", help="write the averaged weights as a checkpoint folder")
    for step in (clips, prepare, train, export):
        step.add_argument("--data", type=Path, default=Path("data/whisper"))
    for step in (train, export):
        step.add_argument("--run", type=Path, default=Path("runs/whisper-decoder"))
        step.add_argument("--out", type=Path, default=Path("runs/whisper-small-decoder"))
        step.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json and its companions")
    for step in (prepare, train, export):
        step.add_argument("--encoder", type=Path, required=True, help="folder with the encoder's tensors as .npy")


def main(arguments: argparse.Namespace) -> None:
    """Run one step."""
    # Imported where they are used: --help needs no torch.
    from auricle.training import whisper_prepare

    if arguments.step == "clips":
        whisper_prepare.prepare_clips(arguments.speech, arguments.synthetic, arguments.data)
    elif arguments.step == "prepare":
        for name in arguments.packs:
            whisper_prepare.prepare_pack(arguments.data, name, arguments.speech, arguments.encoder)
    else:
        _train_or_export(arguments)


def _train_or_export(arguments: Any) -> None:
    from auricle.training import pretrain_whisper as training

    places = training.Places(arguments.data, arguments.run, arguments.out, arguments.encoder, arguments.tokenizer)
    if arguments.step == "train":
        training.train(places, training.DecoderOptions(arguments.minutes, save_minutes=arguments.save_minutes))
    else:
        print(training.export(places))
