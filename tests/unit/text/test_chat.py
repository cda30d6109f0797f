"""Chat templates: which one, what it is given, what it may not do, and how errors read."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import ConfigError, OptionError
from auricle.text.chat import ChatTemplates, is_chat, render

MESSAGES = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
PLAIN = MESSAGES + "{% if add_generation_prompt %}[assistant]{% endif %}"
PARTS = "{% for m in messages %}{% for part in m.content %}<{{ part.text }}>{% endfor %}{% endfor %}"
HELLO = [{"role": "user", "content": "hello"}]


def test_the_file_stands_above_the_settings(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("file")
    assert ChatTemplates.from_folder(tmp_path, {"chat_template": "setting"}).choose(None, False) == "file"


def test_further_templates_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("usual")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    found = ChatTemplates.from_folder(tmp_path, {})
    assert found.choose(None, has_tools=False) == "usual"
    assert found.choose(None, has_tools=True) == "tools"


def test_a_list_of_named_templates_is_read(tmp_path: Path) -> None:
    given = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    found = ChatTemplates.from_folder(tmp_path, {"chat_template": given})
    assert found.choose("rag", False) == "b"
    assert found.choose("{{ messages }}", False) == "{{ messages }}"
    with pytest.raises(OptionError, match="'rug' is none of default, rag"):
        found.choose("rug", False)


def test_a_checkpoint_without_template_says_what_to_do() -> None:
    with pytest.raises(OptionError, match=r"no chat template.*Give the prompt as text"):
        ChatTemplates().choose(None, False)


def test_a_setting_that_is_no_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chat_template is neither a text nor a list"):
        ChatTemplates.from_folder(tmp_path, {"chat_template": 3})


def test_the_answer_begins_where_the_template_says() -> None:
    assert render(PLAIN, HELLO) == "[user]hello[assistant]"
    assert render(PLAIN, HELLO, add_generation_prompt=False) == "[user]hello"


def test_the_last_message_is_gone_on_with() -> None:
    chat = [*HELLO, {"role": "assistant", "content": "Hi, I "}]
    assert render(PLAIN, chat, continue_final_message=True) == "[user]hello[assistant]Hi, I "
    trimmed = PLAIN.replace("m.content", "m.content | trim")
    assert render(trimmed, chat, continue_final_message=True) == "[user]hello[assistant]Hi, I "


def test_a_template_that_drops_the_last_message_cannot_go_on_with_it() -> None:
    with pytest.raises(OptionError, match="leaves out or changes"):
        render("{{ messages[0].role }}", HELLO, continue_final_message=True)


def test_json_is_written_for_a_prompt_and_not_for_a_page() -> None:
    tools = [{"name": "größe", "html": "<b>&</b>"}]
    assert json.loads(render("{{ tools | tojson }}", HELLO, tools=tools)) == tools
    assert render("{{ tools | tojson(indent=2) }}", HELLO, tools=tools) == json.dumps(
        tools, ensure_ascii=False, indent=2
    )


def test_lines_of_blocks_alone_leave_no_trace() -> None:
    source = "a\n  {% if true %}\nb\n  {% endif %}\nc"
    assert render(source, HELLO) == "a\nb\nc"


def test_loops_can_be_left_and_generations_marked() -> None:
    marked = "{% generation %}{{ m.content }}{% endgeneration %}"
    source = "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}" + marked + "{% endfor %}"
    assert render(source, [*HELLO, *HELLO]) == "hello"


def test_a_template_can_tell_the_date() -> None:
    assert len(render("{{ strftime_now('%Y-%m-%d') }}", HELLO)) == 10


def test_a_template_that_refuses_a_chat_is_quoted() -> None:
    with pytest.raises(OptionError, match="refuses this chat: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[0].__class__ }}{{ cycler.__init__.__globals__.os }}",
        "{{ raise_exception.__globals__['os'] }}",
        "{% for i in range(10**9) %}x{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    with pytest.raises(OptionError, match="chat template"):
        render(source, HELLO)


def test_a_template_sees_plain_data_only() -> None:
    class Role(enum.StrEnum):
        USER = "user"

    @dataclass
    class Part:
        path: Path

    messages: list[dict[str, Any]] = [{"role": Role.USER, "content": "hi", "more": Part(Path("secret"))}]
    assert render("{{ messages[0].role }} {{ messages[0].more }}", messages) == "user {'path': '<PosixPath>'}"


def test_a_template_that_is_none_is_told_from_a_chat_that_it_refuses() -> None:
    with pytest.raises(ConfigError, match="the chat template is no template"):
        render("{% for %}", [{"role": "user", "content": "a"}])


def test_a_refused_chat_is_told_what_to_do() -> None:
    gemma = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    with pytest.raises(OptionError, match=r"System role not supported\. Change the messages, or give another template"):
        render(gemma, [{"role": "system", "content": "a"}])


@pytest.mark.parametrize("content", [None, [], [{"type": "text", "text": None}], [{"type": "image"}]])
def test_a_last_message_without_text_is_not_gone_on_with(content: Any) -> None:
    parts = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    call = {"role": "assistant", "content": content, "tool_calls": []}
    with pytest.raises(OptionError, match="the last message is the assistant's, to be gone on with, and has no text"):
        render(parts, [{"role": "user", "content": "a"}, call], continue_final_message=True)


def test_a_part_of_no_known_kind_is_refused() -> None:
    with pytest.raises(OptionError, match="has parts of None"):
        render("{{ messages[0].content }}", [{"role": "user", "content": [{"type": None, "text": "a"}]}])


def test_what_is_none_is_absent() -> None:
    chat = [{"role": "assistant", "content": "x", "tool_calls": None}]
    assert render("{{ messages[0].tool_calls is defined }}", chat) == "False"


def test_parts_of_text_become_one_text_for_templates_that_know_no_parts() -> None:
    chat = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert render(PLAIN, chat) == "[user]ab[assistant]"
    assert render(PARTS, chat) == "<a><b>"


def test_a_part_that_is_no_text_is_refused() -> None:
    chat = [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]
    with pytest.raises(OptionError, match="parts of image_url; this model reads text"):
        render(PLAIN, chat)


def test_variables_reach_the_template_and_hide_nothing() -> None:
    assert render("{{ enable_thinking }}", HELLO, variables={"enable_thinking": False}) == "False"
    with pytest.raises(OptionError, match="'messages' has a parameter of its own"):
        render("{{ messages }}", HELLO, variables={"messages": []})


def test_a_chat_is_told_from_a_list_of_texts() -> None:
    assert is_chat(HELLO)
    assert not is_chat(["hello"])
    assert not is_chat([])
    assert not is_chat([HELLO])


def test_callers_messages_stay_as_they_are() -> None:
    chat = [{"role": "assistant", "content": [{"type": "text", "text": "a"}], "thinking": "b"}]
    before = json.dumps(chat)
    render(PARTS, chat, continue_final_message=True)
    assert json.dumps(chat) == before


def test_a_template_in_another_encoding_is_named_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_bytes("été".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"chat_template\.jinja is not UTF-8"):
        ChatTemplates.from_folder(tmp_path, {})
    path.write_bytes("été".encode("utf-8-sig"))
    assert ChatTemplates.from_folder(tmp_path, {}).choose(None, False) == "été"
