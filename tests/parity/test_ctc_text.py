"""Text and times of CTC decoding against transformers' tokenizers, on random logits and vocabularies.

Where theirs is not followed:
- their pipeline writes special tokens other than blank ("<s>", "<unk>") into the text; ours leaves them out, so that
  the logits here never choose them;
- the spaces before the first and after the last word are in their character offsets, but not in their text nor in
  our characters;
- their offsets ignore do_lower_case, which their text obeys; ours obey it in both;
- encoding loses the spaces around tokens of several letters with theirs, and keeps them with ours;
- Parakeet's tokenizer gives them no offsets at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.decoding.ctc import BeamOptions, BeamSearch, greedy
from auricle.speech.ctc import make_segments
from auricle.text import Tokenizer, open_tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is the test oracle and is not installed")

WHISPER = Path(__file__).parents[3] / "shared" / "weights" / "whisper-tokenizer"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
FLAT = {token: id for id, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
SPECIAL = ("<s>", "</s>", "<unk>")
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "base-960h": (FLAT, {}),
    "blank last, delimiter first": (
        {"|": 0, **{letter.lower(): id for id, letter in enumerate(LETTERS, 1)}, "[UNK]": 28, "[PAD]": 29},
        {"pad_token": "[PAD]", "unk_token": "[UNK]"},
    ),
    "lower-cased": (FLAT, {"do_lower_case": True}),
    "English clean-up": (
        {**FLAT, ".": 32, ",": 33, "?": 34},
        {"clean_up_tokenization_spaces": True},
    ),
    "tokens of several letters": ({**FLAT, "CH": 32, "SCH": 33, "À": 34}, {}),
}


def write_both(folder: Path, vocabulary: dict[str, Any], settings: dict[str, Any], lang: str | None = None) -> Any:
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    theirs = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder, **({"target_lang": lang} if lang else {}))
    return open_tokenizer(folder, "wav2vec2", lang), theirs


def random_logits(ours: Tokenizer, n_ids: int, seed: int, n_frames: int = 200) -> Tensor:
    """Speech-like noise: blanks and delimiters are common, repeats happen, special tokens never win."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n_frames, n_ids, generator=generator) * 3
    logits[:, ours.blank] += 4
    repeated = torch.rand(n_frames, generator=generator) < 0.3
    logits[1:][repeated[1:]] = logits[:-1][repeated[1:]]
    silent = [id for id in range(n_ids) if not ours.piece(id) and id != ours.blank]
    logits[:, silent] = -100.0
    return logits


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_greedy_text_and_times_equal_theirs(tmp_path: Path, shape: str, seed: int) -> None:
    vocabulary, settings = SHAPES[shape]
    ours, theirs = write_both(tmp_path, vocabulary, settings)
    assert ours.blank == theirs.pad_token_id
    logits = random_logits(ours, len(vocabulary), seed)
    tokens = greedy(logits.log_softmax(-1), ours.blank).tokens
    expected = theirs.decode(logits.argmax(-1), output_char_offsets=True, output_word_offsets=True)
    assert ours.decode([token.id for token in tokens]) == expected["text"]

    segments = make_segments(tokens, ours, units_per_second=1.0, duration=1e9)
    words = [(word.text, word.start, word.end) for segment in segments for word in segment.words]
    lower = bool(settings.get("do_lower_case"))
    assert words == [
        (one["word"].lower() if lower else one["word"], one["start_offset"], one["end_offset"])
        for one in expected["word_offsets"]
    ]
    offsets = expected["char_offsets"]
    spoken = [place for place, one in enumerate(offsets) if one["char"] != " "]
    within = offsets[spoken[0] : spoken[-1] + 1] if spoken else []
    characters = [one for segment in segments for one in segment.characters]
    if shape != "tokens of several letters":  # theirs are one chunk, ours are letters
        assert [(one.text, one.start, one.end) for one in characters] == [
            (one["char"].lower() if lower else one["char"], one["start_offset"], one["end_offset"]) for one in within
        ]
    else:
        assert "".join(one.text for one in characters) == "".join(one["char"] for one in within)


@pytest.mark.parametrize("shape", SHAPES)
def test_encoding_equals_theirs(tmp_path: Path, shape: str) -> None:
    ours, theirs = write_both(tmp_path, *SHAPES[shape])
    for text in ("HELLO WORLD", "IT'S  SO", "ASCHÖCHÀCHT", "say it", "Ünicode A"):
        assert ours.encode(text) == theirs(text).input_ids


@pytest.mark.parametrize("delimiter", [None, "|"])
def test_phones_and_their_times_equal_theirs(tmp_path: Path, delimiter: str | None) -> None:
    phones = ["<s>", "<pad>", "</s>", "<unk>", "|", *"n s t ə l a aɪ oː tʃ ɪ k d m ɛ ɾ".split()]
    (tmp_path / "vocab.json").write_text(json.dumps({phone: id for id, phone in enumerate(phones)}), encoding="utf-8")
    theirs = transformers.Wav2Vec2PhonemeCTCTokenizer(
        str(tmp_path / "vocab.json"), do_phonemize=False, word_delimiter_token=delimiter
    )
    theirs.save_pretrained(tmp_path)
    ours = open_tokenizer(tmp_path, "wav2vec2")
    logits = random_logits(ours, len(phones), seed=0)
    tokens = greedy(logits.log_softmax(-1), ours.blank).tokens
    expected = theirs.decode(logits.argmax(-1), output_char_offsets=True)
    assert ours.blank == theirs.pad_token_id == 1
    assert ours.decode([token.id for token in tokens]) == expected["text"]
    segments = make_segments(tokens, ours, units_per_second=1.0, duration=1e9)
    assert [(word.text, word.start, word.end) for segment in segments for word in segment.words] == [
        (one["char"], one["start_offset"], one["end_offset"]) for one in expected["char_offsets"]
    ]


def test_languages_of_one_file_equal_theirs(tmp_path: Path) -> None:
    nested = {
        "eng": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "a": 5, "b": 6},
        "rus": {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "я": 5, "б": 6, "в": 7},
    }
    for lang in nested:
        ours, theirs = write_both(tmp_path, nested, {"target_lang": "eng"}, lang)
        logits = random_logits(ours, len(nested[lang]), seed=7)
        ids = [token.id for token in greedy(logits.log_softmax(-1), ours.blank).tokens]
        assert ours.decode(ids) == theirs.decode(logits.argmax(-1))


def test_added_tokens_past_the_vocabulary_write_nothing_but_share_their_ids(tmp_path: Path) -> None:
    vocabulary = {token: id for id, token in enumerate(["|", "a", "b", "[UNK]", "[PAD]"])}
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<s>": 5, "</s>": 6}), encoding="utf-8")
    ours, theirs = write_both(tmp_path, vocabulary, {"pad_token": "[PAD]", "unk_token": "[UNK]"})
    assert [theirs.convert_tokens_to_ids(token) for token in ("<s>", "</s>")] == [5, 6]
    assert (ours.piece(5), ours.piece(6), ours.vocab_size) == ("", "", 7)
    assert ours.decode([1, 5, 2, 6]) == "ab"


def parakeet_folder(folder: Path) -> Path:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<unk>", "▁", "▁the", "▁a", "s", "t", "e", "a", "▁se", "ing", ",", "."]
    backend = Tokenizer(models.Unigram([(piece, -float(place)) for place, piece in enumerate(pieces)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens([AddedToken("<pad>", special=True, normalized=False)])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "ParakeetTokenizer", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = {"model_type": "parakeet_ctc", "pad_token_id": len(pieces)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("seed", range(5))
def test_parakeet_text_equals_theirs_and_words_make_it_up(tmp_path: Path, seed: int) -> None:
    from transformers.models.parakeet.tokenization_parakeet import ParakeetTokenizer

    folder = parakeet_folder(tmp_path)
    theirs = ParakeetTokenizer.from_pretrained(folder)
    ours = open_tokenizer(folder, "parakeet_ctc")
    logits = random_logits(ours, 13, seed)
    tokens = greedy(logits.log_softmax(-1), ours.blank).tokens
    text = ours.decode([token.id for token in tokens])
    assert text == theirs.decode(logits.argmax(-1))
    segments = make_segments(tokens, ours, 1.0, 1e9)
    assert " ".join(word.text for segment in segments for word in segment.words) == " ".join(text.split())
    assert "".join(one.text for segment in segments for one in segment.characters) == text.strip()


def test_beam_search_equals_greedy_where_one_path_outweighs_the_rest(tmp_path: Path) -> None:
    ours, theirs = write_both(tmp_path, FLAT, {})
    logits = random_logits(ours, len(FLAT), seed=11)
    sure = logits.scatter_add(1, logits.argmax(-1, keepdim=True), torch.full((len(logits), 1), 20.0))
    pieces = [ours.piece(id) for id in range(ours.vocab_size)]
    found = BeamSearch(pieces, ours.blank, BeamOptions(beam_width=10))(sure.log_softmax(-1))[0]
    assert ours.decode([token.id for token in found.tokens]) == theirs.decode(logits.argmax(-1))


@pytest.mark.skipif(not WHISPER.is_dir(), reason="Whisper's vocabulary is not beside the repository")
def test_whisper_text_equals_theirs() -> None:
    theirs = transformers.WhisperTokenizer.from_pretrained(WHISPER)
    ours = open_tokenizer(WHISPER, "whisper")
    generator = torch.Generator().manual_seed(5)
    for text in (" It's naïve — 你好, don't!", "  two  spaces ", " 'quoted' ... 3.5%", "emoji 🎉"):
        assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
    for _ in range(20):
        ids = torch.randint(0, ours.vocab_size, (40,), generator=generator).tolist()
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
