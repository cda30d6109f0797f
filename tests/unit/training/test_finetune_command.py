"""`auricle finetune` as a shell sees it: what it tells of the data, and what it says where that cannot be learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from finetune_toys import toy_checkpoint, write_corpus
from typer.testing import CliRunner

from auricle.cli import app


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return toy_checkpoint(tmp_path / "start", "wav2vec2")


def call(start: Path, data: Path, out: Path, *more: Any) -> Result:
    command = ["finetune", start, "--data", data, "--out", out, "--steps", 1, "--device", "cpu", *more]
    return CliRunner().invoke(app, [str(one) for one in command])


def renamed(data: Path, **names: str) -> None:
    """Give columns of a manifest other names."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps({names.get(key, key): row[key] for key in row}) + "\n" for row in rows))


def test_what_was_found_is_told_in_lines_as_they_are_meant(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 9)
    with data.open("a") as file:
        file.write('{"path": "nowhere.wav", "text": "ab"}\n')
    done = call(start, data, tmp_path / "out")
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert lines[0].endswith("rows.jsonl: manifest (audio=path, text=text, speaker=speaker)")
    assert lines[1:3] == ["  train  9 rows", "  left out 1: no such file (line 10 of rows.jsonl)"]
    bars = [line for line in lines if line.endswith(tuple("123456789")) and " s " in line and " - " in line]
    assert bars
    assert len({line.rindex(" ") for line in bars}) == 1
    assert any(line.startswith("  labels '") for line in lines)


def test_columns_may_be_called_anything(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 9)
    renamed(data, text="words", path="sound")
    unnamed = call(start, data.parent, tmp_path / "out")
    assert unnamed.exit_code == 2
    assert "rows.jsonl is not read" in unnamed.stderr
    assert "has sound, words, speaker" in unnamed.stderr
    named = call(start, data, tmp_path / "out", "--text-column", "words", "--audio-column", "sound")
    assert named.exit_code == 0, named.output
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_rows_without_any_text_name_the_columns_that_there_are(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 3)
    renamed(data, text="words")
    done = call(start, data, tmp_path / "out")
    assert done.exit_code == 2
    assert "none of the rows of" in done.stderr
    assert "its other columns are words: name that of the text (--text-column, text_column=)" in done.stderr
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "wav.scp").write_text(f"one {tmp_path / 'data' / 'row-0.wav'}\n")
    assert "write the file `text` beside wav.scp" in call(start, tmp_path / "kaldi", tmp_path / "out").stderr


def test_a_language_may_be_named_and_its_letters_are_its_own(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 9)
    data.write_text(data.read_text().replace('"text": "', '"text": "I '))
    done = call(start, data, tmp_path / "out", "--language", "Turkish", "--force")
    assert done.exit_code == 0, done.output
    assert "ı" in json.loads((tmp_path / "out" / "vocab.json").read_text())
    assert "language:\n- tr" in (tmp_path / "out" / "README.md").read_text()
    none = call(start, data, tmp_path / "none", "--language", "turkisch")
    assert none.exit_code == 2
    assert "language='turkisch' is not a language; did you mean 'turkish'" in none.stderr


def test_a_dataset_says_its_language_itself(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 9)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps({**row, "text": f"I {row['text']}", "locale": "tr"}) + "\n" for row in rows))
    done = call(start, data, tmp_path / "out", "--force")
    assert done.exit_code == 0, done.output
    assert "ı" in json.loads((tmp_path / "out" / "vocab.json").read_text())


def test_a_new_vocabulary_is_not_said_to_be_in_the_language_of_the_old_one(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 12)
    kept, new, cyrillic = tmp_path / "kept", tmp_path / "new", str.maketrans("abcde", "абвгд")
    assert call(Path("bundled"), data, kept, "--force").exit_code == 0
    assert json.loads((kept / "auricle.json").read_text())["languages"] == ["en"]
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps({**row, "text": row["text"].translate(cyrillic)}) + "\n" for row in rows))
    assert call(Path("bundled"), data, new, "--force").exit_code == 0
    assert json.loads((new / "auricle.json").read_text())["languages"] == []
    assert "language:" not in (new / "README.md").read_text()


def test_a_language_that_no_row_is_in_is_told_those_that_there_are(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 3)
    data.write_text(data.read_text().replace('"text"', '"locale": "tr", "text"'))
    done = call(start, data, tmp_path / "out", "--language", "de")
    assert done.exit_code == 2
    assert "no rows to train on in 'de'; its rows are in tr: give one of these as the language" in done.stderr


@pytest.mark.parametrize("more", [(), ("--validation-share", "0"), ("--method", "lora", "--adapter")])
def test_weights_may_be_read_by_whom_the_other_files_may(start: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    assert call(start, write_corpus(tmp_path / "data", 6), out, "--force", *more).exit_code == 0
    modes = {path.stat().st_mode for path in out.iterdir() if path.is_file()}
    assert list(out.glob("*.safetensors"))
    assert len(modes) == 1


def test_librispeech_is_learned_from_as_it_is_published(start: Path, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 9)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    places = ("train-clean-100/1/2", "train-clean-360/3/4", "dev-clean/5/6", "dev-other/7/8", "test-clean/9/10")
    for place in places:
        folder = tmp_path / "LibriSpeech" / place
        folder.mkdir(parents=True)
        (folder / "0.trans.txt").write_text("".join(f"{place.split('/')[1]}-{n} {rows[n]['text']}\n" for n in range(3)))
        for n in range(3):
            (folder / f"{place.split('/')[1]}-{n}.wav").write_bytes((data.parent / rows[n]["path"]).read_bytes())
    done = call(start, tmp_path / "LibriSpeech", tmp_path / "out", "--force")
    assert done.exit_code == 0, done.output
    assert "6 rows to learn from, 3 to validate (the split 'dev-clean')" in done.stderr
    assert "split train-clean-100, train-clean-360: 6 rows" in (tmp_path / "out" / "README.md").read_text()


def test_a_second_collection_is_not_passed_over(start: Path, tmp_path: Path) -> None:
    done = call(start, tmp_path / "one", tmp_path / "out", "--data", tmp_path / "two")
    assert done.exit_code == 2
    assert "--data was given 2 times" in done.stderr
    assert "a run learns from one collection" in done.stderr


def test_rows_that_are_all_left_out_say_why(start: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"path": "nowhere.wav", "text": "ab"}\n')
    done = call(start, data, tmp_path / "out")
    assert done.exit_code == 2
    assert "has no rows to train on; left out: 1 no such file" in done.stderr


def test_rows_that_are_all_too_long_are_told_what_to_do(start: Path, tmp_path: Path) -> None:
    done = call(start, write_corpus(tmp_path / "data", 6), tmp_path / "out", "--max-duration", "0.2")
    assert done.exit_code == 2
    assert "training: none of 4 rows can be used: 4 longer than 0.2 s, such as row-" in done.stderr
    assert "Cut them at pauses, or raise --max-duration" in done.stderr


def test_the_model_to_start_from_is_not_the_folder_of_the_new_one(start: Path, tmp_path: Path) -> None:
    data, out = write_corpus(tmp_path / "data", 6), tmp_path / "out"
    assert call(start, data, out, "--force").exit_code == 0
    done = call(out, data, out, "--force")
    assert done.exit_code == 2
    assert "is the model to start from and the folder of the new one; give another --out" in done.stderr


def test_a_run_of_other_data_says_so_and_no_fingerprints(start: Path, tmp_path: Path) -> None:
    data, out = write_corpus(tmp_path / "data", 6), tmp_path / "out"
    assert call(start, data, out, "--force").exit_code == 0
    longer = call(start, data, out, "--force", "--min-duration", "0.2")
    assert "begun otherwise: min_duration was 0.1 and is 0.2. Give what" in longer.stderr
    data.write_text(data.read_text().replace('"text": "', '"text": "zz '))
    other = call(start, data, out, "--force")
    assert other.exit_code == 2
    assert "begun otherwise: the model was another one, or the vocabulary that is made of the training" in other.stderr


def test_a_split_that_cannot_be_used_is_named(start: Path, tmp_path: Path) -> None:
    data, other = write_corpus(tmp_path / "data", 6), write_corpus(tmp_path / "other", 2)
    rows = [json.loads(line) for line in other.read_text().splitlines()]
    other.write_text("".join(json.dumps({**row, "text": "xyz"}) + "\n" for row in rows))
    done = call(start, data, tmp_path / "out", "--validation-data", other)
    assert done.exit_code == 2
    assert "validation: none of 2 rows can be used: 2 characters outside the vocabulary" in done.stderr
    assert "draw more with --validation-share, or train without any (--validation-share 0)" in done.stderr
    assert "--new-vocabulary" not in done.stderr
