"""Checkpoints of the true shapes that write a text known beforehand, made here because weights cannot be shipped.

A random Whisper would write noise of any length, and every library would cut it off elsewhere. Here the network is
random and true in size, and its last decoder layer remembers a script: the unit `i` of its feed-forward network wakes
at the script's token `i` and adds the embedding of the token after it. So each library, by its ordinary rules, prompts
and guards, writes the same text of the same length, with a time at its beginning and end. Arithmetic of 8 bits writes
it too: the distance to the next best token is more than ten. Beams that stray come to their end, as those of trained
networks do.

A network this sure of itself favours whoever drafts tokens and checks them, as auricle's engine for CPUs does: nearly
every draft is right, and trained networks doubt. `CAVEAT` says so in the results; decode_step.py has the plain step.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

CAVEAT = (
    "the checkpoint is sure of every token, so drafted tokens are nearly always right: where auricle drafts, a trained "
    "checkpoint gains less"
)
VERSION = 3  # of what is made: a changed recipe makes new folders
WEIGHTS = Path(__file__).parent.parent.parent / "shared" / "weights"
STEP_S = 0.02
START, ENGLISH, TRANSCRIBE, NO_TIMES, END = (
    "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>", "<|endoftext|>",
)  # fmt: skip
SMALL = 0.0005  # of the random weights that write to the decoder's residual stream, which must stay the token's
WAKING = 12.0  # a unit is fed this times (cosine - 0.5): 6 at its own token, about -6 at any other
OTHERWISE = 3.0  # the same of the end, which follows whatever is not in the script: a beam that strays is finished
NEXT = 12.0  # how much larger the next token's embedding is than the present one's, when it was added
WORDS = (
    "the morning garden was quiet and bright when our teacher came home from that long road with seven books about "
    "history water music science people because she had found them under an old house near river where many children "
    "play after school every summer they brought paper bread milk sugar coffee tea while he wrote letter to his "
    "brother who lives across mountain city market street church station hospital office between north south east "
    "west winter spring autumn Monday Friday doctor captain soldier king queen village island forest ocean desert "
    "bridge window table chair bottle basket horse cattle birds fish corn apple orange lemon silver golden iron stone "
    "glass cotton leather engine machine power light green yellow purple white black brown simple perfect modern "
    "ancient strong heavy gentle famous public private special general final second third hundred thousand million"
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a published Whisper."""

    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    n_mels: int = 80
    vocabulary: int = 51865


SHAPES = {
    "tiny": Shape(384, 4, 4, 6),
    "base": Shape(512, 6, 6, 8),
    "small": Shape(768, 12, 12, 12),
    "turbo": Shape(1280, 32, 4, 20, n_mels=128, vocabulary=51866),
}


@dataclass(frozen=True)
class Checkpoint:
    """A folder as the Hub would serve it, and the text that it writes of each window."""

    folder: Path
    text: str
    n_tokens: int  # of a window: text, both times and the end


def tokenizer_folder() -> Path:
    """Whisper's multilingual vocabulary: the folder that WHISPER_TOKENIZER names, or the one beside the repository."""
    folder = Path(os.environ.get("WHISPER_TOKENIZER", WEIGHTS / "whisper-tokenizer"))
    if not (folder / "tokenizer.json").is_file():
        raise SystemExit(
            f"{folder} has no tokenizer.json: set WHISPER_TOKENIZER to a folder with tokenizer.json, "
            "tokenizer_config.json, preprocessor_config.json and generation_config.json of openai/whisper-base"
        )
    return folder


def scripted_whisper(cache: Path, shape: str, n_tokens: int = 100, end_s: float = 30.0) -> Checkpoint:
    """Make, or find, the checkpoint that writes `n_tokens` a window and says that they end at `end_s`."""
    folder = cache / f"whisper-{shape}-{n_tokens}-tokens-{end_s:g}-s-v{VERSION}"
    if not (folder / "script.json").is_file():
        _make_whisper(folder, SHAPES[shape], n_tokens, end_s)
    script = json.loads((folder / "script.json").read_text(encoding="utf-8"))
    return Checkpoint(folder, script["text"], n_tokens)


def _make_whisper(folder: Path, shape: Shape, n_tokens: int, end_s: float) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    generation = _copy_vocabulary(unfinished, shape)
    vocabulary = Tokenizer.from_file(str(unfinished / "tokenizer.json"))
    script, text = _script(vocabulary, n_tokens, end_s)
    config = WhisperConfig(
        vocab_size=shape.vocabulary,
        num_mel_bins=shape.n_mels,
        d_model=shape.width,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        decoder_start_token_id=vocabulary.token_to_id(START),
        **{name: vocabulary.token_to_id(END) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    model = WhisperForConditionalGeneration(config).eval()
    _remember(model, script)
    model.generation_config = GenerationConfig.from_dict(generation)
    model.save_pretrained(unfinished)
    (unfinished / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    (unfinished / "script.json").write_text(json.dumps({"text": text, "tokens": script}) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _script(vocabulary: Any, n_tokens: int, end_s: float) -> tuple[list[tuple[int, int]], str]:
    """Pairs of a token and the one after it, and the text; all tokens are different, so that none has two."""
    begin = vocabulary.token_to_id("<|0.00|>")
    wanted = []
    for word in dict.fromkeys(WORDS.split()):
        ids = vocabulary.encode(" " + word, add_special_tokens=False).ids
        if len(ids) == 1:
            wanted.append(ids[0])
    words = wanted[: n_tokens - 3]
    assert len(words) == n_tokens - 3, f"{len(wanted)} words are one token each, and {n_tokens - 3} are needed"
    start, english, transcribe, no_times, end = (
        vocabulary.token_to_id(token) for token in (START, ENGLISH, TRANSCRIBE, NO_TIMES, END)
    )
    line = [begin, *words, begin + round(end_s / STEP_S), end]
    follows = [*pairwise(line), (start, english), (english, transcribe), (transcribe, begin)]
    return [*follows, (no_times, words[0])], vocabulary.decode(words)


def _remember(model: Any, script: list[tuple[int, int]]) -> None:
    """Write the script into the last decoder layer, and keep all before it from disturbing the token's embedding."""
    import torch

    decoder = model.model.decoder
    width = model.config.d_model
    with torch.no_grad():
        embedding = decoder.embed_tokens.weight
        embedding.normal_(0, width**-0.5)
        embedding /= embedding.norm(dim=1, keepdim=True)
        decoder.embed_positions.weight.normal_(0, SMALL)
        for layer in decoder.layers:
            for writing in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                writing.weight.normal_(0, SMALL)
        last = decoder.layers[-1]
        last.fc2.bias += OTHERWISE * embedding[model.config.eos_token_id]
        for unit, (token, following) in enumerate(script):
            # The layer's input is normalised: its length is the root of its width.
            last.fc1.weight[unit] = WAKING * embedding[token] * width**-0.5
            last.fc1.bias[unit] = -WAKING / 2
            last.fc2.weight[:, unit] = NEXT / (WAKING / 2) * embedding[following]
    model.tie_weights()


def _copy_vocabulary(folder: Path, shape: Shape) -> dict[str, Any]:
    """Copy the vocabulary and its companions, with one more language for the shapes that have it."""
    source = tokenizer_folder()
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        shutil.copyfile(source / name, folder / name)
    generation: dict[str, Any] = json.loads((source / "generation_config.json").read_text(encoding="utf-8"))
    if shape.vocabulary == 51865:
        shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
        return generation
    vocabulary = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    generation = _with_cantonese(vocabulary, generation)
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    features = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    text = json.dumps({**features, "feature_size": shape.n_mels}, indent=2)
    (folder / "preprocessor_config.json").write_text(text + "\n", encoding="utf-8")
    return generation


def _with_cantonese(vocabulary: dict[str, Any], generation: dict[str, Any]) -> dict[str, Any]:
    """The vocabulary of large-v3: <|yue|> comes after the other languages, and all tokens behind move by one."""
    added = vocabulary["added_tokens"]
    last = max(generation["lang_to_id"].values())
    for token in added:
        token["id"] += token["id"] > last
    model = next(token for token in added if token["id"] == last)
    added.append({**model, "id": last + 1, "content": "<|yue|>"})
    added.sort(key=lambda token: token["id"])
    listed = vocabulary["model"].get("vocab", {})
    for content, number in list(listed.items()):
        if number > last:
            listed[content] = number + 1

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(one) for key, one in value.items()}
        return value + 1 if isinstance(value, int) and not isinstance(value, bool) and value > last else value

    changed = {key: moved(value) for key, value in generation.items() if key != "alignment_heads"}
    changed["lang_to_id"] = {**changed["lang_to_id"], "<|yue|>": last + 1}
    return changed


def random_wav2vec2(cache: Path) -> Path:
    """Make, or find, wav2vec2-base with a CTC head over 32 characters, all of it random."""
    folder = cache / f"wav2vec2-base-v{VERSION}"
    if (folder / "model.safetensors").is_file():
        return folder
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=32, pad_token_id=0, bos_token_id=1, eos_token_id=2)).eval()
    with torch.no_grad():
        model.lm_head.weight *= 10  # so that one character stands out, as after training
    model.save_pretrained(unfinished)
    characters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    files: dict[str, dict[str, Any]] = {
        "vocab.json": {character: number for number, character in enumerate(characters)},
        "tokenizer_config.json": {
            "tokenizer_class": "Wav2Vec2CTCTokenizer", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
            "pad_token": "<pad>", "word_delimiter_token": "|", "do_lower_case": False,
        },
        "preprocessor_config.json": {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "feature_size": 1,
            "padding_side": "right", "padding_value": 0.0, "return_attention_mask": False, "sampling_rate": 16000,
        },
    }  # fmt: skip
    for name, content in files.items():
        (unfinished / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder
