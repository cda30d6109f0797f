"""Sentences made of recorded words: cut where words end, of one voice, with letters and states that belong to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.errors import CheckpointError
from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.training.batches import epochs, make_batch
from auricle.training.export import export
from auricle.training.pretrain_ctc import BLANK
from auricle.training.splices import LEAST_SHARE, LEAST_WORDS, MOST_WORDS, Piece, Splicer, WordPlaces
from auricle.training.store import FeatureStore, write_store
from auricle.training.teacher import TeacherStates
from auricle.training.text import ALPHABET
from auricle.training.word_places import place_words, places_of

WORDS = "zero one two three four five six seven eight nine".split()
FRAMES = 20  # of each word
N_WORDS = 8


def store_of_words(folder: Path) -> FeatureStore:
    """Recordings of words whose features are the word's number, of two speakers, each as it is and disturbed."""
    rng, items = np.random.default_rng(0), []
    for index in range(24):
        numbers = rng.integers(0, 10, N_WORDS)
        variant, speaker = ("clean", "disturbed")[index % 2], "ab"[index // 2 % 2]
        # What was disturbed and what the second one said can be told apart.
        level = numbers + 100 * (variant == "disturbed") + 200 * (speaker == "b")
        fields = {"text": " ".join(WORDS[n] for n in numbers), "corpus": "toy", "speaker": speaker, "split": "train"}
        features = np.repeat(level, FRAMES)[:, None].repeat(80, 1)
        items.append((features, {**fields, "variant": variant, "source": f"toy/{index}"}))
    write_store(folder, items, 80)
    return FeatureStore(folder)


def is_made(pieces: Sequence[Piece]) -> bool:
    """Whether this is no whole recording."""
    return len(pieces) > 1 or (pieces[0].start, pieces[0].end) != (0.0, 1.0)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return store_of_words(tmp_path / "features")


@pytest.fixture
def places(store: FeatureStore, tmp_path: Path) -> WordPlaces:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({u.source: [k / N_WORDS for k in range(N_WORDS + 1)] for u in store.utterances}))
    return WordPlaces(path)


def test_pieces_are_whole_words_of_one_voice_and_of_one_condition(store: FeatureStore, places: WordPlaces) -> None:
    splicer, generator = Splicer(store.utterances, places, 1.0), torch.Generator().manual_seed(1)
    sources = set()
    for utterance in store.utterances:
        pieces = splicer(utterance, generator)
        assert is_made(pieces)
        total = 0
        for piece in pieces:
            features = store.features(piece.utterance)[piece.of(piece.utterance.n_frames)]
            words = piece.text.split()
            assert LEAST_WORDS <= len(words) <= MOST_WORDS
            level = 100 * (utterance.variant == "disturbed") + 200 * (utterance.speaker == "b")
            assert np.array_equal(features[::FRAMES, 0] - level, [WORDS.index(word) for word in words])
            total += len(features)
            sources.add(piece.utterance.source)
        assert LEAST_SHARE * utterance.n_frames <= total <= utterance.n_frames
    assert len(sources) > 12


def test_share_says_how_many_are_made(store: FeatureStore, places: WordPlaces) -> None:
    for share, low, high in ((0.0, 0, 0), (0.5, 80, 160), (1.0, 240, 240)):
        splicer, generator = Splicer(store.utterances, places, share), torch.Generator().manual_seed(1)
        made = sum(is_made(splicer(u, generator)) for u in store.utterances * 10)
        assert low <= made <= high


def test_a_voice_of_few_recordings_is_left_whole(store: FeatureStore, places: WordPlaces) -> None:
    few = [u for u in store.utterances if u.speaker == "a" and u.variant == "clean"][:2]
    splicer = Splicer(few, places, 1.0)
    pieces = splicer(few[0], torch.Generator().manual_seed(1))
    assert [(piece.utterance, piece.text) for piece in pieces] == [(few[0], few[0].text)]


def test_a_batch_has_the_letters_and_the_states_of_its_pieces(
    store: FeatureStore, places: WordPlaces, tmp_path: Path
) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    # A state for every ten frames: the word's number.
    states = np.concatenate([store.features(u)[::10, :4] % 100 for u in store.utterances]).astype(np.float16)
    states.tofile(folder / "states.f16")
    n_states = N_WORDS * FRAMES // 10
    rows = {u.source: (index * n_states, n_states) for index, u in enumerate(store.utterances)}
    index = {"width": 4, "rows": rows, "mean": [0.0] * 4, "deviation": [1.0] * 4}
    (folder / "index.json").write_text(json.dumps(index))
    splicer, generator = Splicer(store.utterances, places, 1.0), torch.Generator().manual_seed(2)
    group = store.utterances[:6]
    batch = make_batch(store, group, 400, generator, TeacherStates(folder), splicer)
    assert batch.features.shape == (6, 400, 80)
    ends = batch.label_lengths.cumsum(0).tolist()
    for start, end, given in zip([0, *ends], ends, batch.states, strict=False):
        said = "".join(ALPHABET[label] for label in batch.labels[start:end].tolist())
        assert given is not None
        assert [WORDS[int(number)] for number in given[::2, 0]] == said.split()
        assert len(said.split()) <= N_WORDS
    known = TeacherStates(folder)
    del known._rows[store.utterances[0].source]
    some = make_batch(store, store.utterances[:1] * 20, 400, generator, known, splicer).states
    assert {one is None for one in some} == {True, False}


def test_epochs_with_made_sentences_depend_on_their_number_alone(store: FeatureStore, places: WordPlaces) -> None:
    late = epochs(store, {}, 1000, 1, 3, None, 0.6, places, 0.5)
    early = epochs(store, {}, 1000, 1, 2, None, 0.6, places, 0.5)
    third = next(batch for epoch, batch in early if epoch == 3)
    same = next(late)[1]
    assert torch.equal(same.features, third.features)
    assert torch.equal(same.labels, third.labels)


def test_places_lie_midway_between_the_letters_about_a_space() -> None:
    text = "ab c"
    log_probs = np.full((10, len(ALPHABET) + 1), -9.0)
    log_probs[:, BLANK] = -1.0
    for frame, letter in ((1, "a"), (2, "b"), (4, " "), (7, "c")):
        log_probs[frame, ALPHABET.index(letter)] = -0.01
    assert places_of(text, log_probs) == [0.0, pytest.approx((3 + 7) / 2 / 10), 1.0]
    assert places_of("unlikely", np.full((30, len(ALPHABET) + 1), -3.4)) is None
    assert places_of("much too long for this", log_probs) is None


def test_words_of_a_store_are_placed_by_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of_words(tmp_path / "features")
    tiny = ParakeetCTC.tiny(subsampling_factor=4)
    config = ParakeetConfig(BLANK + 1, BLANK, tiny.encoder_config)
    torch.manual_seed(0)
    export(ParakeetCTC(config).state_dict(), config, tmp_path / "checkpoint", {"name": "random"})
    told = place_words(tmp_path / "features", tmp_path / "checkpoint", config, tmp_path / "words.json")
    assert told == (0, 24)  # it knows no letter
    monkeypatch.setattr("auricle.training.word_places.LEAST_PROBABILITY", 0.0)
    n_found, _ = place_words(tmp_path / "features", tmp_path / "checkpoint", config, tmp_path / "words.json")
    placed = WordPlaces(tmp_path / "words.json")
    found = [u for u in store.utterances if u.source in placed]
    assert len(found) == n_found > 0
    for utterance in found:
        cuts = placed[utterance.source]
        assert len(cuts) == N_WORDS + 1
        assert cuts == sorted(cuts)
        assert (cuts[0], cuts[-1]) == (0.0, 1.0)


def test_absent_places_say_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run the command `align` first"):
        WordPlaces(tmp_path / "words.json")
