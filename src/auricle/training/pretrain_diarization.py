"""The two networks of the bundled diarization, and one command for each step that makes them.

voices        recordings of single speakers -> one file with where each voice is heard
mixtures      voices -> conversations, of the training speakers and of held-out ones: to choose by and to measure
speakers      voices -> the network that tells voices apart
pieces        that network, voices -> the same, trained on in conversations made as it goes
segmentation  conversations -> the network that says who speaks when
export        the runs -> a folder that pipeline("speaker-diarization") reads
all           all of these, one after the other; what is made already is not made again

Killed and started again, the trainings go on.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from auricle.loading_diarization import load_diarization
from auricle.models.pyannet import LinearConfig, LSTMConfig, PyanNet, PyanNetConfig, SincNetConfig, powerset
from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet
from auricle.training.data import Sounds, load_sounds
from auricle.training.diarization_pool import Pool, make_pool
from auricle.training.export_diarization import BUNDLED, export, trained
from auricle.training.mixtures import Manners
from auricle.training.pretrain_pieces import Conversations, PieceOptions, Windows, start_pieces, train_pieces
from auricle.training.pretrain_segmentation import (
    SegmentationOptions,
    SegmentationRun,
    train_segmentation,
)
from auricle.training.pretrain_speakers import SpeakerOptions, SpeakerRun, Speakers, train_speakers
from auricle.training.voices import VoiceStore, prepare_voices

# Half the frames of the published network, 34 ms each: recurrent layers cost by the frame.
SEGMENTATION = PyanNetConfig(
    sincnet=SincNetConfig(stride=20, n_filters=40, channels=(64, 64)),
    lstm=LSTMConfig(hidden_size=128, num_layers=2),
    linear=LinearConfig(hidden_size=128, num_layers=1),
)
# Conversations in which nobody speaks for seconds at a time, as in recordings of rooms.
LULLS = Manners(lull=0.2)
TRAINED = Manners(lull=0.1, room=0.7, noise=0.8, least_snr_db=0.0)
TUNED_HOURS = 2 / 3  # of conversations that numbers are chosen on, of either kind
# Minutes of a processor that the bundled networks took.
MINUTES = {"speakers": 60.0, "pieces": 38.0, "segmentation": 112.0}
EMBEDDING = WeSpeakerConfig(num_mel_bins=48, depths=(1, 1, 1, 1), base_channels=16, embedding_dim=128)


def training_sounds(speech: Path) -> Sounds:
    """Return the noises and rooms that training hears; the last of each are kept for measuring."""
    sounds = load_sounds(speech)
    return Sounds(sounds.noises[:-1], sounds.rooms[:-1])


def held_out_sounds(speech: Path) -> Sounds:
    """Return the noise and the room that training never hears."""
    sounds = load_sounds(speech)
    return Sounds(sounds.noises[-1:], sounds.rooms[-1:])


def frame_centres(config: PyanNetConfig) -> np.ndarray:
    """Return the sample in the middle of what each frame of a chunk hears, (T,)."""
    hears, step = config.frame_samples
    return hears // 2 + step * np.arange(config.n_frames(config.chunk_samples))


def heard_windows(config: PyanNetConfig) -> Windows:
    """Return how the bundled diarization, with this segmentation, hears a recording."""
    return Windows(config.duration, frame_centres(config), BUNDLED.piece_s)


def start_segmentation(options: SegmentationOptions, config: PyanNetConfig = SEGMENTATION) -> SegmentationRun:
    """Return a fresh network with its optimizer."""
    torch.manual_seed(options.seed)
    model = PyanNet(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.01)
    return SegmentationRun(model, copy.deepcopy(model), optimizer, options)


def start_speakers(options: SpeakerOptions, config: WeSpeakerConfig = EMBEDDING) -> SpeakerRun:
    """Return a fresh network with its optimizer."""
    torch.manual_seed(options.seed)
    model = WeSpeakerResNet(config)
    if config.base_channels % 8 == 0:  # with fewer, the gradients of this layout end in freed memory (torch 2.13)
        model.resnet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scale = nn.Parameter(torch.tensor(10.0).log())
    parameters = [*model.parameters(), scale]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=options.weight_decay)
    return SpeakerRun(model, copy.deepcopy(model), optimizer, options, scale=scale)


def first_voices(runs: Path, start: str | None) -> WeSpeakerResNet:
    """Return the network that the run of `speakers` made, or that of the diarization `start`, if one is given."""
    if start is not None:
        return load_diarization(start).embedding
    model = WeSpeakerResNet(EMBEDDING)
    model.load_state_dict(trained(runs / "speakers"))
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the steps to `python -m auricle.training diarization`."""
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("voices", "mixtures", "speakers", "pieces", "segmentation", "export"):
        step = steps.add_parser(name)
        step.add_argument("--speech", type=Path, required=name != "export", help="folder with manifest.jsonl")
        step.add_argument("--data", type=Path, default=Path("data"), help="where voices and mixtures are")
        step.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
        if name == "mixtures":
            step.add_argument("--hours", type=float, default=14.0)
        if name in ("speakers", "pieces", "segmentation"):
            step.add_argument("--minutes", type=float, required=True, help="the whole run's budget, of a processor")
        if name == "segmentation":
            step.add_argument("--start", type=Path, help="a diarization's folder whose network is the first one")
        if name == "pieces":
            step.add_argument("--start", help="a diarization whose network is first; else the run of `speakers`")
            step.add_argument("--peak", type=float, default=1.0, help="share of the usual rate, less to go on with")
        if name == "export":
            step.add_argument("--out", type=Path, required=True)
            step.add_argument("--start", help="a diarization whose networks are taken where there is no run")
            step.add_argument("--threshold", type=float, default=0.77, help="distance that divides two speakers")
            step.add_argument("--name", required=True, help="what the networks call themselves")
            step.add_argument("--summary", required=True, help="one line with their measured accuracy")
    every = steps.add_parser("all")
    every.add_argument("--speech", type=Path, required=True, help="folder with manifest.jsonl")
    every.add_argument("--data", type=Path, default=Path("data"), help="where voices and mixtures are")
    every.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    every.add_argument("--hours", type=float, default=11.0, help="of conversations to learn from")
    every.add_argument("--minutes", type=float, default=sum(MINUTES.values()), help="of all trainings together")
    every.add_argument("--out", type=Path, required=True)
    every.add_argument("--name", required=True, help="what the networks call themselves")
    every.add_argument("--summary", required=True, help="one line about them")


def steps_of(arguments: argparse.Namespace) -> list[list[str]]:
    """Return the commands of `all` that are to be run: what is made of voices and conversations is kept."""
    data, speech = arguments.data, arguments.speech
    made = {
        "voices": (data / "voices" / "index.json").exists(),
        "mixtures": (data / "mixtures-train" / "index.json").exists(),
    }
    share = arguments.minutes / sum(MINUTES.values())
    own: dict[str, list[object]] = {
        "voices": [],
        "mixtures": ["--hours", arguments.hours],
        **{name: ["--minutes", share * minutes] for name, minutes in MINUTES.items()},
        "export": ["--out", arguments.out, "--name", arguments.name, "--summary", arguments.summary],
    }
    places = ["--speech", speech, "--data", data, "--runs", arguments.runs]
    return [[str(one) for one in (name, *places, *more)] for name, more in own.items() if not made.get(name, False)]


def main(arguments: argparse.Namespace) -> None:
    """Run one step."""
    data, runs, speech = arguments.data, arguments.runs, arguments.speech
    if arguments.step == "all":
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        for step in steps_of(arguments):
            print(f"{step[0]} ...", flush=True)
            main(parser.parse_args(step))
    elif arguments.step == "voices":
        prepare_voices(speech, data / "voices", n_workers=2)
    elif arguments.step == "mixtures":
        store = VoiceStore(data / "voices")
        sounds = held_out_sounds(speech)
        make_pool(store, "test", sounds, data / "mixtures-test", 0.5, seed=7, n_workers=1)
        make_pool(store, "test", sounds, data / "mixtures-test-lulls", 0.5, seed=8, n_workers=1, manners=LULLS)
        make_pool(store, "test", sounds, data / "mixtures-more", 4 / 3, seed=3000, n_workers=1)
        tuned = data / "mixtures-tuned", data / "mixtures-tuned-lulls"
        make_pool(store, "test", sounds, tuned[0], TUNED_HOURS, seed=2000, n_workers=1)
        make_pool(store, "test", sounds, tuned[1], TUNED_HOURS, seed=2001, n_workers=1, manners=LULLS)
        heard, folder = training_sounds(speech), data / "mixtures-train"
        make_pool(store, "train", heard, folder, arguments.hours, seed=1, n_workers=2, manners=TRAINED)
    elif arguments.step == "speakers":
        options = SpeakerOptions(arguments.minutes)
        speakers = Speakers(VoiceStore(data / "voices"), "train", training_sounds(speech), options.seconds)
        train_speakers(start_speakers(options), speakers, runs / "speakers")
    elif arguments.step == "pieces":
        told, sounds = PieceOptions(arguments.minutes), training_sounds(speech)
        told = replace(told, rate=told.rate * arguments.peak)
        windows = heard_windows(SEGMENTATION)
        conversations = Conversations(VoiceStore(data / "voices"), "train", sounds, windows, TRAINED, told)
        voices = first_voices(runs, arguments.start)
        train_pieces(start_pieces(told, voices, conversations.n_voices), conversations, runs / "pieces")
    elif arguments.step == "segmentation":
        chosen = SegmentationOptions(arguments.minutes)
        if arguments.start is not None:
            chosen = replace(chosen, rate=chosen.rate / 2)
        segmenter = start_segmentation(chosen)
        if arguments.start is not None:
            segmenter.begin_as(load_diarization(arguments.start).segmentation)
        pool, sounds = Pool(data / "mixtures-train"), training_sounds(speech)
        config = segmenter.model.config
        classes = powerset(config.max_speakers_per_chunk, config.max_speakers_per_frame)
        train_segmentation(
            segmenter, pool, frame_centres(config), classes, config.duration, sounds, runs / "segmentation"
        )
    else:
        card = {"name": arguments.name, "summary": arguments.summary}
        export(runs, arguments.out, (SEGMENTATION, EMBEDDING), arguments.threshold, card, arguments.start)
