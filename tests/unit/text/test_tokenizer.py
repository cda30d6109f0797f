"""Subword tokenizers: one built here, and Whisper's own vocabulary where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from auricle.errors import ConfigError, OptionError
from auricle.text import SubwordTokenizer, open_tokenizer
from auricle.text.tokenizer import BYTES

WHISPER = Path(__file__).parents[4] / "shared" / "weights" / "whisper-tokenizer"
needs_whisper = pytest.mark.skipif(
    not (WHISPER / "tokenizer.json").is_file(), reason="Whisper's vocabulary is not beside the repository"
)
PIECES = ["<unk>", "▁he", "llo", "▁wor", "ld", "▁", "."]


@pytest.fixture
def parakeet(tmp_path: Path) -> Path:
    """A folder with seven SentencePiece pieces and the blank after them."""
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens([AddedToken("<pad>", special=True, normalized=False)])
    backend.save(str(tmp_path / "tokenizer.json"))
    settings = {"pad_token": "<pad>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "parakeet_ctc", "pad_token_id": 7}), encoding="utf-8"
    )
    return tmp_path


def test_subwords_decode_to_words_without_blank_and_unknown(parakeet: Path) -> None:
    tokenizer = open_tokenizer(parakeet, "parakeet_ctc")
    assert tokenizer.blank == 7
    assert tokenizer.vocab_size == 8
    assert tokenizer.encode("hello world") == [1, 2, 3, 4]
    assert tokenizer.decode([1, 2, 7, 3, 0, 4]) == "hello world"
    assert [tokenizer.piece(id) for id in range(9)] == ["", " he", "llo", " wor", "ld", " ", ".", "", ""]


def test_the_blank_of_model_and_tokenizer_must_agree(parakeet: Path) -> None:
    (parakeet / "config.json").write_text(json.dumps({"model_type": "parakeet_ctc", "pad_token_id": 6}))
    with pytest.raises(ConfigError, match=r"pad_token_id 6.*is 7"):
        open_tokenizer(parakeet, "parakeet_ctc")


def test_a_ctc_checkpoint_without_blank_is_refused(parakeet: Path) -> None:
    (parakeet / "config.json").write_text(json.dumps({"model_type": "parakeet_ctc"}))
    (parakeet / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match=r"names the CTC blank"):
        open_tokenizer(parakeet, "parakeet_ctc")


def test_english_clean_up_is_done_where_the_checkpoint_asks(parakeet: Path) -> None:
    assert open_tokenizer(parakeet, "parakeet_ctc").decode([1, 5, 6]) == "he ."
    settings = {"pad_token": "<pad>", "clean_up_tokenization_spaces": True}
    (parakeet / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert open_tokenizer(parakeet, "parakeet_ctc").decode([1, 5, 6]) == "he."


def test_malformed_tokenizer_is_named(parakeet: Path) -> None:
    (parakeet / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tokenizer\.json cannot be read"):
        open_tokenizer(parakeet, "parakeet_ctc")


def test_a_pointer_in_place_of_the_tokenizer_is_told(parakeet: Path) -> None:
    (parakeet / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is a git-LFS pointer and not the file; run 'git lfs pull'"):
        open_tokenizer(parakeet, "parakeet_ctc")


def test_settings_may_begin_with_a_byte_order_mark(parakeet: Path) -> None:
    expected = open_tokenizer(parakeet, "parakeet_ctc").decode([1, 2, 3])
    path = parakeet / "tokenizer_config.json"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-8-sig"))
    assert open_tokenizer(parakeet, "parakeet_ctc").decode([1, 2, 3]) == expected


def test_language_is_refused_for_subwords(parakeet: Path) -> None:
    with pytest.raises(OptionError, match=r"target_lang='eng'"):
        open_tokenizer(parakeet, "parakeet_ctc", "eng")


def test_vocabulary_without_timestamps_refuses_to_write_them(parakeet: Path) -> None:
    tokenizer = SubwordTokenizer.from_folder(parakeet)
    assert tokenizer.timestamp_begin == -1
    with pytest.raises(OptionError, match=r"no timestamp tokens"):
        tokenizer.decode_with_timestamps([1])


def test_added_tokens_of_a_byte_level_vocabulary_are_pieces_as_they_are_written() -> None:
    backend = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(BYTES)}, merges=[]))
    backend.decoder = decoders.ByteLevel()
    added = ["New York", "東京", "<laugh>"]
    backend.add_tokens([AddedToken(token, normalized=False) for token in added])
    tokenizer = SubwordTokenizer(backend, {})
    assert [tokenizer.piece(256 + place) for place in range(3)] == added
    assert [tokenizer.decode([256 + place]) for place in range(3)] == added


@needs_whisper
def test_whisper_text_leaves_out_tasks_languages_and_times() -> None:
    tokenizer = SubwordTokenizer.from_folder(WHISPER)
    words = tokenizer.encode(" Hello wörld, 你好.")
    prompt = [tokenizer.special(token) for token in ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")]
    ids = [*prompt, tokenizer.timestamp_begin, *words, tokenizer.timestamp_begin + 54, 50257]
    assert tokenizer.decode(ids) == " Hello wörld, 你好."
    assert tokenizer.decode_with_timestamps(ids) == "<|0.00|> Hello wörld, 你好.<|1.08|>"
    assert "".join(tokenizer.piece(id) for id in words) == " Hello wörld, 你好."
    assert tokenizer.timestamp_begin == 50364
    assert tokenizer.vocab_size == 51865
    assert tokenizer.blank == -1


@needs_whisper
def test_whisper_without_tokenizer_json_is_built_from_its_parts(tmp_path: Path) -> None:
    raw = json.loads((WHISPER / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: token["id"] for token in raw["added_tokens"]}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in raw["model"]["merges"]]
    (tmp_path / "vocab.json").write_text(json.dumps(raw["model"]["vocab"]), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    (tmp_path / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")
    built, read = open_tokenizer(tmp_path, "whisper"), open_tokenizer(WHISPER, "whisper")
    text = " It's 3 o'clock; naïve café — \u4f60\u597d, don't!"
    assert built.encode(text) == read.encode(text)
    assert built.decode(built.encode(text)) == text
    assert built.vocab_size == read.vocab_size


@needs_whisper
def test_unknown_special_token_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"<\|transcribee\|>.*<\|transcribe\|>"):
        SubwordTokenizer.from_folder(WHISPER).special("<|transcribee|>")
