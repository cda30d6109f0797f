"""Voices told apart in conversations: pieces are heard where they are said, and the losses are what they say."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.errors import CheckpointError
from auricle.loading_diarization import load_diarization
from auricle.models.pyannet import PyanNet
from auricle.models.wespeaker import WeSpeakerResNet
from auricle.training import pretrain_pieces
from auricle.training.data import Sounds
from auricle.training.export_diarization import export
from auricle.training.mixtures import Manners
from auricle.training.pretrain_diarization import (
    first_voices,
    frame_centres,
    heard_windows,
    start_segmentation,
    start_speakers,
)
from auricle.training.pretrain_pieces import (
    SPEEDS,
    Conversations,
    PieceOptions,
    blank_bands,
    margin_loss,
    meeting_loss,
    start_pieces,
    train_pieces,
)
from auricle.training.pretrain_segmentation import SegmentationOptions
from auricle.training.pretrain_speakers import SpeakerOptions
from auricle.training.run_file import write_run
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, VoiceStore

DRY = Manners(room=0.0, noise=0.0, quietest_db=0.0, backchannel=0.0)
SEGMENTATION = replace(PyanNet.tiny(), duration=5.0)
BFLOAT16 = 0.03  # of a loss: 8 bits of each product, through some ten layers
OPTIONS = PieceOptions(minutes=0.02, batch_size=2, windows=1, overlaps=0.0, alike=0.0)


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    """Four speakers of 10 s, each a tone of their own, the last of them with no more than a second of it."""
    n_frames = 1000
    rows, samples, activity = [], [], []
    for number in range(4):
        active = np.arange(n_frames) < (100 if number == 3 else n_frames)
        tone = np.sin(2 * np.pi * (300 + 250 * number) * np.arange(n_frames * FRAME_SAMPLES) / SAMPLE_RATE)
        samples.append((8000 * tone * np.repeat(active, FRAME_SAMPLES)).astype(np.int16))
        activity.append(active.astype(np.uint8))
        n_samples = n_frames * FRAME_SAMPLES
        rows.append(
            {
                "offset": number * n_samples,
                "n_samples": n_samples,
                "speaker": f"s{number}",
                "corpus": "tones",
                "split": "train",
            }
        )
    (tmp_path / "samples.i16").write_bytes(np.concatenate(samples).tobytes())
    (tmp_path / "activity.u8").write_bytes(np.concatenate(activity).tobytes())
    (tmp_path / "index.json").write_text(json.dumps(rows))
    return VoiceStore(tmp_path)


def conversations_of(store: VoiceStore, options: PieceOptions = OPTIONS) -> Conversations:
    return Conversations(store, "train", Sounds(), heard_windows(SEGMENTATION), DRY, options)


def no_likeness(conversations: Conversations) -> Tensor:
    return torch.zeros(conversations.n_voices, 1)


def test_a_piece_is_heard_where_its_voice_sounds_and_nobody_else_does(store: VoiceStore) -> None:
    conversations = conversations_of(store)
    centres = frame_centres(SEGMENTATION)
    assert conversations.n_voices == 3 * len(SPEEDS)  # a second of voice is too little
    for seed in range(3):
        heard = conversations.draw(no_likeness(conversations), np.random.default_rng(seed))
        assert len(heard.places) == len(heard.voices) == len(heard.counts) > 4
        assert len(heard.waveforms) == OPTIONS.batch_size * OPTIONS.meetings
        for (window, row), voice in zip(heard.places.tolist(), heard.voices.tolist(), strict=True):
            frames = np.flatnonzero(heard.weights[window, row].numpy())
            first, last = centres[frames[0]], centres[frames[-1]]
            sound = heard.waveforms[window, first:last].numpy()
            if len(frames) != frames[-1] - frames[0] + 1 or len(sound) < SAMPLE_RATE // 2:
                continue
            spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
            loudest = np.argmax(spectrum) * SAMPLE_RATE / len(sound)
            # A tone played faster is higher by as much.
            expected = (300 + 250 * (voice // len(SPEEDS))) * SPEEDS[voice % len(SPEEDS)]
            assert abs(loudest - expected) < 20


def test_pieces_of_a_group_are_in_two_meetings(store: VoiceStore) -> None:
    conversations = conversations_of(store, replace(OPTIONS, batch_size=1, windows=2))
    heard = conversations.draw(no_likeness(conversations), np.random.default_rng(4))
    assert len(heard.waveforms) == 4
    first = {
        voice for (window, _), voice in zip(heard.places.tolist(), heard.voices.tolist(), strict=True) if window < 2
    }
    last = {
        voice for (window, _), voice in zip(heard.places.tolist(), heard.voices.tolist(), strict=True) if window > 1
    }
    assert first & last


def test_overlaps_that_count_are_heard_as_both(store: VoiceStore) -> None:
    crowded = Manners(room=0.0, noise=0.0, gap_mean=-0.5, gap_spread=0.1, stays=0.0)
    shared = []
    for overlaps in (0.0, 1.0):
        options = replace(OPTIONS, overlaps=overlaps)
        conversations = Conversations(store, "train", Sounds(), heard_windows(SEGMENTATION), crowded, options)
        drawn = [conversations.draw(no_likeness(conversations), np.random.default_rng(seed)) for seed in range(6)]
        shared.append(sum(int((heard.weights.sum(1) > 1).sum()) for heard in drawn))
    assert shared[0] == 0
    assert shared[1] > 20


def test_voices_alike_talk_with_each_other(store: VoiceStore) -> None:
    conversations = conversations_of(store, replace(OPTIONS, alike=1.0, n_alike=2 * len(SPEEDS) - 1))
    directions = torch.zeros(conversations.n_voices, 2)
    directions[: 2 * len(SPEEDS), 0] = 1.0
    directions[2 * len(SPEEDS) :, 1] = 1.0
    rng = np.random.default_rng(0)
    groups = [conversations.group(directions, rng) for _ in range(40)]
    assert all(len({voice // len(SPEEDS) for voice in group}) == len(group) >= 2 for group in groups)
    # The second one is like the first, if the first is one of the two who are alike.
    seconds = [group[1] // len(SPEEDS) for group in groups if group[0] // len(SPEEDS) < 2]
    assert seconds
    assert set(seconds) == {0, 1}


def test_a_margin_is_taken_from_the_own_voice() -> None:
    vectors, voices, counts = 5 * torch.eye(3), torch.arange(3), torch.ones(3)
    # By hand: cosines 1 - 0.2 and twice 0, times 10.
    expected = math.log(math.exp(8) + 2) - 8
    assert float(margin_loss(vectors, torch.eye(3), voices, counts, 0.2, 10.0)) == pytest.approx(expected, abs=1e-6)
    # A piece that counts nothing is not asked.
    wrong, counts = torch.tensor([0, 1, 0]), torch.tensor([1.0, 1.0, 0.0])
    assert float(margin_loss(vectors, torch.eye(3), wrong, counts, 0.2, 10.0)) == pytest.approx(expected, abs=1e-6)


def test_a_piece_is_compared_with_the_others_of_its_voice_and_not_with_itself() -> None:
    vectors, offset = torch.eye(3), torch.tensor(0.5)
    voices, counts, scale = torch.tensor([7, 7, 2]), torch.ones(3), torch.tensor(4.0)
    nearest, apart = meeting_loss(vectors, voices, counts, scale, offset)
    # By hand: the two of voice 7 find each other's cosine 0 beside 0 of the third; that one alone is not asked.
    assert float(nearest) == pytest.approx(math.log(2), abs=1e-6)
    # All cosines are 0, a half below the offset: wrong for the own voice by 2, right for others by as much.
    softplus = [math.log(1 + math.exp(side)) for side in (2, -2)]
    assert float(apart) == pytest.approx(sum(softplus) / 2, abs=1e-6)
    near = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    nearest, apart = meeting_loss(near, torch.tensor([0, 0, 1, 1]), torch.ones(4), scale, offset)
    assert float(nearest) == pytest.approx(math.log(math.exp(4) + 1) - 4, abs=1e-6)
    assert float(apart) == pytest.approx(softplus[1], abs=1e-6)
    assert float(meeting_loss(vectors, torch.arange(3), counts, scale, offset)[0]) == 0.0


def test_blanked_bands_are_neighbours_and_few() -> None:
    energies = blank_bands(torch.ones(20, 5, 16), 6, np.random.default_rng(0))
    blanked = energies[:, 0] == 0
    assert torch.equal(energies == 0, blanked[:, None].expand(-1, 5, -1))
    assert {int(row.sum()) for row in blanked} <= set(range(7))
    assert all(int((row.int().diff() == 1).sum()) + int(row[0]) <= 1 for row in blanked)
    assert blanked.any()


def test_convolutions_in_bfloat16_lose_as_much_as_in_float32(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations = conversations_of(store)
    run = start_pieces(OPTIONS, WeSpeakerResNet(WeSpeakerResNet.tiny()), conversations.n_voices)
    run.introduce(conversations)
    heard = conversations.draw(no_likeness(conversations), np.random.default_rng(0))
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(pretrain_pieces, "fast_dtype", lambda dtype=dtype: dtype)
        loss = run.loss(heard, np.random.default_rng(1))
        loss.backward()
        assert all(bool(one.grad.isfinite().all()) for one in run.model.parameters() if one.grad is not None)
        found[dtype] = float(loss.detach())
    assert found[torch.bfloat16] != found[torch.float32]
    assert found[torch.bfloat16] == pytest.approx(found[torch.float32], rel=BFLOAT16)


def test_a_run_begins_as_the_network_it_is_given_and_goes_on_where_it_was(store: VoiceStore, tmp_path: Path) -> None:
    conversations = conversations_of(store)
    first = WeSpeakerResNet(WeSpeakerResNet.tiny())
    run = start_pieces(OPTIONS, first, conversations.n_voices)
    assert torch.equal(run.average.resnet.seg_1.weight, first.resnet.seg_1.weight)
    train_pieces(run, conversations, tmp_path / "runs" / "pieces")
    assert run.step > 0
    assert torch.allclose(run.targets.directions.norm(dim=1), torch.ones(conversations.n_voices), atol=0.2)
    again = start_pieces(OPTIONS, first, conversations.n_voices)
    train_pieces(again, conversations, tmp_path / "runs" / "pieces")
    assert again.step == run.step
    assert torch.equal(again.average.resnet.seg_1.weight, run.average.resnet.seg_1.weight)
    assert torch.equal(again.targets.directions, run.targets.directions)


def test_the_first_network_is_that_of_pairs_unless_another_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run"):
        first_voices(tmp_path, None)
    pairs = start_speakers(SpeakerOptions(minutes=1))
    (tmp_path / "speakers").mkdir()
    write_run(tmp_path / "speakers", pairs.state())
    assert torch.equal(first_voices(tmp_path, None).resnet.seg_1.weight, pairs.average.resnet.seg_1.weight)
    bundled = first_voices(tmp_path, "bundled-diarization")
    assert not torch.equal(bundled.resnet.seg_1.weight, pairs.average.resnet.seg_1.weight)


def test_what_was_not_trained_is_taken_from_another_diarization(store: VoiceStore, tmp_path: Path) -> None:
    segmenter, embedder = PyanNet.tiny(), WeSpeakerResNet.tiny()
    conversations = conversations_of(store)
    runs, configs = tmp_path / "runs", (segmenter, embedder)
    (runs / "segmentation").mkdir(parents=True)
    write_run(runs / "segmentation", start_segmentation(SegmentationOptions(minutes=1), segmenter).state())
    for name, seed in (("speakers", 1), ("pieces", 2)):
        torch.manual_seed(seed)
        run = start_pieces(OPTIONS, WeSpeakerResNet(embedder), conversations.n_voices)
        (runs / name).mkdir()
        write_run(runs / name, run.state())
    export(runs, tmp_path / "both", configs, 1.0, {})
    assert torch.equal(
        load_diarization(tmp_path / "both").embedding.resnet.seg_1.weight, run.average.resnet.seg_1.weight
    )
    shutil.rmtree(runs / "segmentation")
    export(runs, tmp_path / "again", configs, 0.9, {}, start=str(tmp_path / "both"))
    kept, found = (load_diarization(tmp_path / name) for name in ("both", "again"))
    assert torch.equal(kept.segmentation.classifier.weight, found.segmentation.classifier.weight)
    assert found.config.threshold == 0.9
