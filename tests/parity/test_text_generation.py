"""The text-generation pipeline against transformers: tokenizers, chat templates, and texts in every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from auricle import pipeline
from auricle.text.chat import render
from auricle.text.tools import schemas
from auricle.text.writing import WritingTokenizer

TEXTS = [
    "the quick brown fox",
    "  spaces\tand\nlines  ",
    "naïve café – 漢字 👩‍👩‍👧",
    "<|im_start|>user\nhi<|im_end|>",
    "it 's a test . isn 't it ?",
    "",
]
TOOL_CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "hello <b>you</b>"}],
    [{"role": "system", "content": " be kind "}, {"role": "user", "content": "hello"}],
    [
        {"role": "user", "content": "how is it?"},
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        {"role": "tool", "name": "weather", "content": "12 °C"},
        {"role": "assistant", "content": "Cool.", "reasoning": "It is below 15."},
        {"role": "user", "content": "thanks"},
    ],
]
# In the manners of families: loops with conditions, macros, namespaces, whitespace control, dates and tools.
TEMPLATES = {
    "chatml with a default system": """
{%- if messages[0]['role'] != 'system' -%}{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{%- endif -%}
{%- for message in messages -%}
    {%- if message.tool_calls -%}
        {{- '<|im_start|>' + message.role -}}
        {%- for call in message.tool_calls -%}
            {{- '\\n<tool_call>\\n' -}}{{- call.function | tojson -}}{{- '\\n</tool_call>' -}}
        {%- endfor -%}
        {{- '<|im_end|>\\n' -}}
    {%- else -%}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
""",
    "headers with trimmed contents": """
{{- bos_token }}
{%- if tools is not none %}Tools: {{ tools | tojson(indent=4) }}
{% endif %}
{% for message in messages %}
    {%- set content = '<|head|>' + message['role'] + '<|end|>\\n\\n' + (message['content'] or '') | trim + eos_token %}
    {%- if loop.index0 == 0 %}{% set content = 'first' + content %}{% endif %}
    {{- content }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|head|>assistant<|end|>\\n\\n' }}{% endif %}
""",
    "turns with state": """
{%- set state = namespace(system='', n=0) %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% set state.system = message.content %}{% continue %}{% endif %}
    {%- set state.n = state.n + 1 %}
    {%- if message.role == 'user' %}{{ '[INST] ' ~ (state.system ~ '\\n\\n' if state.system and state.n == 1 else '')
        ~ message.content ~ ' [/INST]' }}
    {%- else %}{% generation %} {{ message.content }}{{ eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}
""",
    "macros and thoughts": """
{%- macro turn(role, content) %}<{{ role }}>{{ content }}</{{ role }}>
{% endmacro %}
{%- for message in messages[::-1] | reverse %}
    {%- if message.reasoning_content is defined %}<think>{{ message.reasoning_content | upper }}</think>{% endif %}
    {{- turn(message.role if message.role != 'assistant' else 'model', message.content | default('-', true)) }}
{%- endfor %}
{{- documents | map(attribute='title') | join(', ') if documents else '' }}
{%- if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}
""",
}


@pytest.fixture
def folder(tmp_path: Path, byte_level: Any) -> Path:
    byte_level.save(str(tmp_path / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<|head|>", "<|end|>"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tmp_path


def both(folder: Path, model_type: str = "llama") -> tuple[Any, Any]:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(folder), WritingTokenizer.from_folder(folder, model_type)


def assert_same(theirs: Any, ours: WritingTokenizer) -> None:
    for text in TEXTS:
        for special in (True, False):
            ids = theirs(text, add_special_tokens=special)["input_ids"]
            assert ours.encode(text, special) == ids
            assert ours.decode(ids, skip_special_tokens=special) == theirs.decode(ids, skip_special_tokens=special)
    assert ours.special >= set(theirs.all_special_ids)


def test_byte_level_vocabularies(folder: Path) -> None:
    assert_same(*both(folder))


def test_extra_special_tokens_may_be_named_by_their_roles(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["extra_special_tokens"] = {"image_token": "<image>", "boi_token": "<|im_start|>"}
    path.write_text(json.dumps(settings), encoding="utf-8")
    theirs, ours = both(folder)
    assert_same(theirs, ours)
    for text in ("an image_token here", "an <image> here", "<|head|> and <|end|>"):
        assert ours.encode(text) == theirs(text)["input_ids"]


def test_vocabularies_in_the_manner_of_llama_2(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, processors

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    vocabulary = {piece: id for id, piece in enumerate([*pieces, *map("".join, merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **settings})
    )
    theirs, ours = both(tmp_path)
    assert_same(theirs, ours)
    assert ours.byte_ids == set(range(3, 259))


def test_gpt2_without_tokenizer_json(tmp_path: Path, byte_level: Any) -> None:
    import transformers

    model = json.loads(byte_level.to_str())["model"]
    vocabulary = {token: id for token, id in model["vocab"].items() if not token.startswith("<|im")}
    ordered = sorted(vocabulary, key=lambda token: (token == "<|endoftext|>", vocabulary[token]))
    (tmp_path / "vocab.json").write_text(json.dumps({token: id for id, token in enumerate(ordered)}))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    theirs = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    ours = WritingTokenizer.from_folder(tmp_path, "gpt2")
    for text in TEXTS:
        assert ours.encode(text, True) == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True)


def weather(city: str, days: int = 1, units: list[str] | None = None) -> str:
    """Tell the weather.

    Args:
        city: Where, as people
            call it.
        days: How many days ahead. (choices: [1, 2, 3])
        units: What to measure in.

    Returns:
        A sentence.
    """
    return f"{city} {days} {units}"


def test_functions_become_the_same_tools() -> None:
    from transformers.utils import get_json_schema

    assert schemas([weather]) == [get_json_schema(weather)]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("more", [{}, {"tools": [weather]}, {"documents": [{"title": "A", "text": "b"}]}])
def test_chats_are_written_the_same(folder: Path, name: str, chat: list[Any], more: dict[str, Any]) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATES[name])
    theirs, ours = both(folder)
    tools = schemas(more["tools"]) if "tools" in more else None
    source = ours.templates.choose(None, bool(tools))
    for begins, goes_on in ((True, False), (False, False), (False, True)):
        way = {"add_generation_prompt": begins, "continue_final_message": goes_on}
        expected = theirs.apply_chat_template(chat, tokenize=False, enable_thinking=False, **way, **more)
        variables = {**ours.roles, "enable_thinking": False}
        found = render(source, chat, tools=tools, documents=more.get("documents"), variables=variables, **way)
        assert found == expected


@pytest.fixture(scope="module")
def pair(text_checkpoint: Path) -> tuple[Any, Any]:
    """Both pipelines on one checkpoint."""
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(text_checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(text_checkpoint, dtype=torch.float32)
    theirs = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu")
    return theirs, pipeline("text-generation", text_checkpoint, device="cpu", engine="reference")


WAYS: list[dict[str, Any]] = [
    {},
    {"return_full_text": False},
    {"return_tensors": True},
    {"max_new_tokens": 3},
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"eos_token_id": [81, 90, 120]},
    {"min_new_tokens": 6, "eos_token_id": [81, 90, 120]},
    {"bad_words_ids": [[81], [90, 120]]},
    {"suppress_tokens": [81, 90]},
    {"num_beams": 3},
    {"num_beams": 3, "num_return_sequences": 3},
    {"num_beams": 4, "num_return_sequences": 2, "early_stopping": True, "eos_token_id": [81, 90]},
    {"num_beams": 3, "length_penalty": 2.0, "eos_token_id": [81, 90]},
    {"skip_special_tokens": False},
    {"max_length": 14, "max_new_tokens": None},
    {"prefix": "so "},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("inputs", ["the quick", ["the quick", "over the lazy dog"], CHATS[0], [CHATS[0], CHATS[1]]])
def test_texts_are_those_of_transformers(pair: tuple[Any, Any], way: dict[str, Any], inputs: Any) -> None:
    theirs, ours = pair
    way = {"max_new_tokens": 10, "do_sample": False, **way}
    if "max_length" in way and inputs != "the quick":
        pytest.skip("transformers' own length of the prompt is no matter here")
    if "prefix" in way and not isinstance(inputs, str):
        pytest.skip("chats have no prefix")
    way = {name: value for name, value in way.items() if value is not None}
    assert ours(inputs, **way) == theirs(inputs, **way)


@pytest.mark.parametrize("key", ["min_p", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_k"])
def test_what_is_drawn_from_is_the_same(key: str) -> None:
    from transformers.generation import logits_process

    from auricle.decoding.generate import GenerateOptions
    from auricle.decoding.sampling import warpers

    names = {"min_p": "MinP", "top_p": "TopP", "typical_p": "Typical", "top_k": "TopK"}
    names |= {"epsilon_cutoff": "Epsilon", "eta_cutoff": "Eta"}
    value = 7 if key == "top_k" else 0.02
    logits = 3 * torch.randn(4, 90, generator=torch.Generator().manual_seed(0))
    theirs = getattr(logits_process, f"{names[key]}LogitsWarper")
    expected = (theirs(value, device="cpu") if key == "eta_cutoff" else theirs(value))(None, logits)
    (ours,) = warpers(GenerateOptions(eos=1, do_sample=True, **{key: value}))  # type: ignore[arg-type]
    assert torch.equal(ours(logits) == float("-inf"), expected == float("-inf"))


def test_defaults_are_those_of_transformers(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    expected = theirs._prepare_generate_kwargs({})
    config, _ = theirs.model._prepare_generation_config(None, **expected)
    options = ours.read_parameters({}, None).manner.options
    assert options.max_new_tokens == config.max_new_tokens == 256
    assert options.sampling_temperature == config.temperature == 0.7
    assert (options.top_k, options.top_p) == (config.top_k, config.top_p)
    assert options.eos == config.eos_token_id


@torch.inference_mode()
def test_the_part_that_writes_is_taken_of_a_model_that_also_sees(tmp_path: Path, text_checkpoint: Path) -> None:
    import transformers

    from auricle.loading import load, task_of

    text = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 7}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 7}
    seen = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    seen |= {"image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(text_config=text, vision_config=seen, mm_tokens_per_image=4, eos_token_id=[1, 2])
    torch.manual_seed(0)
    oracle: Any = transformers.Gemma3ForConditionalGeneration(config).eval()
    oracle.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((text_checkpoint / "tokenizer.json").read_bytes())
    loaded = load(tmp_path)
    assert (task_of(tmp_path), loaded.model_type) == ("text-generation", "gemma3_text")
    assert loaded.generation["eos_token_id"] == [1, 2]
    tokens = torch.randint(3, 320, (2, 20), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loaded.model(tokens), oracle(input_ids=tokens).logits, atol=2e-4, rtol=2e-4)
