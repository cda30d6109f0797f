"""What /openapi.json says may be asked of models that write, asked at random, and broken on purpose: no fault."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

NAME = "org/writer"
ROUTES = r"^/(v1/chat/completions|v1/completions|generate|generate_stream)$"
HOW: Any = {
    "max_examples": 8,
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
TOLD = frozenset({501, 503})
FIELDS = """
    max_tokens temperature top_p top_k min_p typical_p presence_penalty frequency_penalty repetition_penalty logit_bias
    seed stop n stream stream_options response_format messages prompt logprobs top_logprobs tools tool_choice echo
    best_of documents chat_template_kwargs continue_final_message eos_token_id max_time bad_words_ids suppress_tokens
    min_new_tokens no_repeat_ngram_size epsilon_cutoff eta_cutoff
""".split()
OF_THE_HUB = """
    do_sample details return_full_text truncate grammar max_new_tokens generate_kwargs stop_sequences
    num_return_sequences prefix max_length min_length
""".split()
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, 1e-300, 1e300, 10**30, "", "a", "\u0000", [], [1], [[1]], ["a"], [None], {},
    {"a": 1}, {"1": 5}, {"type": "json_object"}, {"type": "regex", "value": "a*"}, [{"role": "user", "content": "a"}],
    [{"role": "", "content": None}], [{"type": "function", "function": {"name": "f"}}], "required", {"0": 1e308},
)  # fmt: skip


@pytest.mark.timeout(300)
def test_no_request_makes_the_server_fail(text_server: Any) -> None:
    schema = schemathesis.openapi.from_url(f"{text_server.url}/openapi.json").include(path_regex=ROUTES)
    failures: list[str] = []
    operations = [found.ok() for found in schema.get_all_operations()]

    for operation in operations:

        @settings(**HOW)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            response = case.call(timeout=60)
            if response.status_code >= 500 and response.status_code not in TOLD:
                failures.append(f"{case.as_curl_command()}: {response.status_code} {response.text[:300]}")

        ask()
    assert len(operations) == 4
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("route", ["chat/completions", "completions"])
def test_odd_values_in_any_field_are_refused_or_written(text_server: Any, route: str) -> None:
    drawn = random.Random(5)
    failures = []
    with httpx.Client(base_url=text_server.url, timeout=60) as client:
        for _ in range(120):
            body: dict[str, Any] = {"model": NAME, "max_tokens": 2}
            body |= {"messages": [{"role": "user", "content": "a"}]} if route.startswith("chat") else {"prompt": "a"}
            body |= {drawn.choice(FIELDS): drawn.choice(ODD) for _ in range(drawn.choice((1, 1, 2)))}
            response = client.post(f"/v1/{route}", content=json.dumps(body))
            if response.status_code not in (200, 400):
                failures.append(f"{body}: {response.status_code} {response.text[:200]}")
            elif response.status_code == 200 and '"error"' in response.text:
                failures.append(f"{body}: {response.text[-300:]}")
    assert not failures, "\n".join(failures)


@pytest.mark.timeout(300)
def test_odd_parameters_of_the_inference_api_are_refused_or_written(text_server: Any) -> None:
    drawn = random.Random(6)
    names = FIELDS + OF_THE_HUB
    failures = []
    with httpx.Client(base_url=text_server.url, timeout=60) as client:
        for _ in range(120):
            parameters = {"max_new_tokens": 2, **{drawn.choice(names): drawn.choice(ODD) for _ in range(2)}}
            body = {"inputs": "a", "parameters": parameters, "stream": drawn.choice((True, False))}
            response = client.post(f"/models/{NAME}", content=json.dumps(body))
            if response.status_code not in (200, 400):
                failures.append(f"{body}: {response.status_code} {response.text[:200]}")
            elif response.status_code == 200 and '"error"' in response.text:
                failures.append(f"{body}: {response.text[-300:]}")
    assert not failures, "\n".join(failures)
