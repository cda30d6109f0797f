"""The decoder that is trained is the decoder that is exported."""

from __future__ import annotations

import json
import wave
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from whisper_toy import CONFIG, SAMPLE_RATE, clip, tone, write_encoder, write_tokenizer

from auricle import pipeline
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.errors import CheckpointError, OptionError, TensorError
from auricle.loading import load
from auricle.training import pretrain_whisper
from auricle.training.pretrain_whisper import (
    DecoderOptions,
    DecoderRun,
    Places,
    attention_weight,
    export,
    make_vocabulary,
    publish,
    resume_run,
    save_run,
    start_run,
    train,
    train_step,
)
from auricle.training.whisper_batches import collate, mask_states, span_shares
from auricle.training.whisper_prepare import prepare_pack
from auricle.training.whisper_states import States, encode, load_encoder, read_pack, write_pack
from auricle.training.whisper_student import LossOptions, student_loss
from auricle.training.whisper_targets import EXACT, make_example
from auricle.training.whisper_windows import Mixture, Part, Plan

# A sum of 1500 products in another order, in float32.
ROUNDING = 2e-4
LOW = clip("ab c", (0.5, 1.0), (1.5, 2.0), duration=2.5, path="low.wav")
HIGH = clip("c c ab", (0.2, 0.8), (1.0, 1.5), (1.5, 2.6), duration=3.0, path="high.wav")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Two recordings, encoded as one window each; the same pack teaches and is scored."""
    folder = tmp_path_factory.mktemp("whisper")
    recordings = []
    for one, frequency in ((LOW, 300), (HIGH, 2500)):
        with wave.open(str(folder / one.path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((tone(frequency, one.duration) * 32767).astype("<i2").tobytes())
        recordings.append(replace(one, path=str(folder / one.path)))
    data = folder / "data"
    data.mkdir()
    (data / "speech.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in recordings))
    found = Places(
        data, folder / "run", folder / "out", write_encoder(folder / "encoder"), write_tokenizer(folder / "tokenizer")
    )
    found.run.mkdir()
    plans = [Plan((Part(one, 0.0, one.duration, 0.0),), (), one.duration) for one in recordings]
    for pack in ("speech-0", "held-out"):
        encoder = load_encoder(found.encoder, CONFIG)
        write_pack(data / "packs" / pack, plans, encoder, Mixture(disturbed=0.0), folder, 1)
    return found


def fresh(places: Places, minutes: float = 10.0) -> DecoderRun:
    vocabulary = make_vocabulary(places.data, places.run, places.tokenizer)
    loss = LossOptions(smoothing=0.0, dropout=0.0)
    return start_run(DecoderOptions(minutes, loss=loss, matrix_rate=5e-3, other_rate=5e-3), vocabulary, CONFIG)


@pytest.fixture(scope="module")
def learnt(places: Places) -> DecoderRun:
    """A run that knows both windows by heart."""
    run = fresh(places)
    run.seconds = 60.0  # past the warm-up
    windows, states, rng = (
        read_pack(places.data / "packs" / "speech-0"),
        States(CONFIG.d_model),
        np.random.default_rng(0),
    )
    for _ in range(200):
        drawn = [make_example(window, run.vocabulary, EXACT, rng) for window in windows]
        train_step(run, collate(windows, [one for one in drawn if one is not None], states, None))
    return run


def test_the_student_scores_as_the_network_it_is_laid_into(places: Places) -> None:
    run = fresh(places)
    windows, states = read_pack(places.data / "packs" / "speech-0"), States(CONFIG.d_model)
    example = make_example(windows[0], run.vocabulary, EXACT, np.random.default_rng(0))
    assert example is not None
    batch = collate(windows[:1], [example], states, None)
    batch = replace(batch, states=batch.states.float())
    model = load_encoder(places.encoder, CONFIG)
    run.student.into(model, run.vocabulary)
    with torch.no_grad():
        scores, _, _ = run.student.eval()(batch, LossOptions(dropout=0.0))
        tokens = torch.tensor([[run.vocabulary.ids[number] for number in example.inputs]])
        logits = model.decode(tokens, model.new_cache(batch.states, torch.tensor([1500])), tokens.shape[1])
    n_tokens = len(example)
    assert torch.allclose(scores[:, :n_tokens, :-1], logits[:, :, run.vocabulary.ids], atol=ROUNDING)
    unseen = [id for id in range(CONFIG.vocab_size) if id not in set(run.vocabulary.ids)]
    assert torch.allclose(scores[:, :n_tokens, -1:].expand(-1, -1, len(unseen)), logits[:, :, unseen], atol=ROUNDING)


def test_listening_has_the_gradients_of_the_plain_attention(places: Places) -> None:
    torch.manual_seed(1)
    student = fresh(places).student
    attention = student.layers[1].encoder_attn
    torch.nn.init.normal_(attention.v_proj.bias)
    x = torch.randn(2, 5, CONFIG.d_model, requires_grad=True)
    states, weights = torch.randn(2, 1500, CONFIG.d_model), torch.randn(CONFIG.d_model)
    brought, scores = student._listen(1, x, states, states.transpose(1, 2).contiguous())
    ours = torch.autograd.grad((brought * weights).sum() + scores.logsumexp(-1).sum(), [x, *attention.parameters()])
    keys, values = attention.keys_values(states)
    plain = attention(x, keys, values)
    queries = attention.q_proj(x).unflatten(2, (4, -1)).transpose(1, 2)
    expected_scores = (queries @ keys.transpose(2, 3) * 8**-0.5)[:, :2]
    loss = (plain * weights).sum() + expected_scores.logsumexp(-1).sum()
    theirs = torch.autograd.grad(loss, [x, *attention.parameters()])
    assert torch.allclose(brought, plain, atol=ROUNDING)
    assert torch.allclose(scores, expected_scores, atol=ROUNDING)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=ROUNDING * float(other.abs().max() + 1))


def test_two_windows_are_learnt_and_exported(places: Places, learnt: DecoderRun) -> None:
    rates = publish(learnt, load_encoder(places.encoder, CONFIG), places)
    assert rates == {"held-out": 0.0}
    pipe = pipeline("automatic-speech-recognition", model=str(places.out))
    output = pipe(str(places.data.parent / "low.wav"), return_timestamps=True, vad=False)
    assert output["text"].strip() == "ab c"
    assert output["chunks"][0]["timestamp"] == pytest.approx((0.5, 2.0), abs=0.05)


def test_the_supervised_heads_listen_where_a_word_is(places: Places, learnt: DecoderRun) -> None:
    model = load_encoder(places.encoder, CONFIG)
    learnt.student.into(model, learnt.vocabulary)
    windows = read_pack(places.data / "packs" / "speech-0")
    states = States(CONFIG.d_model)(windows[:1]).float()
    tokens = learnt.vocabulary.tokens
    prompt = [tokens.start, tokens.languages["en"], tokens.tasks["transcribe"], tokens.no_timestamps]
    with torch.no_grad():
        heads = model.cross_attention(torch.tensor([prompt]), states, torch.tensor([1500]), [(1, 0), (2, 1)])
    # "ab" is said from 0.5 to 1 s; by chance they would spend 25 of 1500 there, 1.7 %.
    assert float(heads[0, :, -1, 25:50].sum(-1).min()) > 0.2


def test_the_export_is_theirs_too(places: Places, learnt: DecoderRun) -> None:
    transformers = pytest.importorskip("transformers")
    model = load_encoder(places.encoder, CONFIG)
    publish(learnt, model, places)
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(places.out).eval().float()
    features = WhisperFeatures(80)([tone(300, 2.5)])
    tokens = torch.tensor([[CONFIG.decoder_start_token_id, 5, 6]])
    with torch.no_grad():
        expected = theirs(input_features=features.values, decoder_input_ids=tokens).logits
        logits = load(places.out).model(features.values, features.lengths, tokens)
    assert torch.allclose(logits, expected, atol=ROUNDING)


def test_a_killed_run_goes_on(places: Places, tmp_path: Path) -> None:
    run = fresh(places)
    run.step, run.epoch, run.seconds = 7, 2, 90.0
    save_run(run, tmp_path)
    resumed = resume_run(tmp_path, run.options, run.vocabulary, CONFIG)
    assert (resumed.step, resumed.epoch, resumed.seconds) == (7, 3, 90.0)
    for mine, other in zip(run.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_run_ends_with_its_budget_and_an_export(places: Places, tmp_path: Path) -> None:
    here = replace(places, run=tmp_path / "run", out=tmp_path / "out")
    run = train(here, DecoderOptions(minutes=1e-4, batch_size=2), CONFIG)
    assert run.step == 1
    assert (here.out / "model.safetensors").exists()
    assert json.loads((here.run / "log.jsonl").read_text().splitlines()[-1])["step"] == 1
    assert set(export(here, CONFIG)) == {"held-out"}


def test_states_are_read_back_as_they_were_encoded(places: Places) -> None:
    model = load_encoder(places.encoder, CONFIG)
    windows = read_pack(places.data / "packs" / "speech-0")
    assert [window.spoken[0].words for window in windows] == [LOW.words, HIGH.words]
    stored = States(CONFIG.d_model)(windows)
    assert stored.shape == (2, 1500, CONFIG.d_model)
    again = encode(model, WhisperFeatures(80), [np.zeros(16000, "f4")])
    assert again.dtype == stored.dtype == torch.bfloat16


def test_masks_blank_a_part_of_the_states() -> None:
    masked = mask_states(torch.ones(2, 1500, 40), torch.Generator().manual_seed(0))
    assert 0.7 < float(masked.mean()) < 0.95


def test_shares_of_a_span_are_even_and_sum_to_one() -> None:
    shares = span_shares(torch.tensor([[[2, 4], [0, 0]]]), n_frames=6)
    assert shares.tolist() == [[[0, 0, 0.5, 0.5, 0, 0], [0] * 6]]


def test_supervision_fades_after_two_fifths() -> None:
    assert attention_weight(0.2, 0.3) == pytest.approx(0.3)
    assert attention_weight(0.9, 0.3) == pytest.approx(0.03)


def test_the_loss_of_what_is_not_wanted_is_not_counted(places: Places) -> None:
    run = fresh(places)
    windows, states = read_pack(places.data / "packs" / "speech-0"), States(CONFIG.d_model)
    example = make_example(windows[0], run.vocabulary, EXACT, np.random.default_rng(0))
    assert example is not None
    muted = replace(example, weights=[*example.weights[:-1], 0.0])
    changed = replace(muted, outputs=[*muted.outputs[:-1], 0])
    losses = []
    for made in (muted, changed):
        with torch.no_grad():
            loss, _ = student_loss(run.student, collate(windows[:1], [made], states, None), run.options.loss)
        losses.append(float(loss))
    assert losses[0] == losses[1]


def test_absent_tensors_and_packs_are_named(places: Places, tmp_path: Path) -> None:
    with pytest.raises(TensorError, match="lacks conv1_weight_fp16"):
        load_encoder(tmp_path, CONFIG)
    with pytest.raises(CheckpointError, match="prepare them first"):
        read_pack(tmp_path)
    with pytest.raises(OptionError, match="speech-N"):
        prepare_pack(places.data, "noise-1", tmp_path, places.encoder, CONFIG)
    assert pretrain_whisper.LEAST_COUNT == 10
