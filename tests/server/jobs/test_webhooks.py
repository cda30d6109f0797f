"""Webhooks: signed as the standard's own library reads them, sent again, and never where they must not go."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from auricle.errors import AudioFormatError
from auricle.server.errors import Refused
from auricle.server.jobs.service import Jobs
from auricle.server.jobs.webhooks import WebhookOptions, check_receiver, read_webhook, signature

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
FAST = WebhookOptions(max_tries=4, first_delay_s=0.02, factor=2.0, timeout_s=2.0, allow_private=True)


@dataclass
class Receiver:
    """Answers with these statuses, then with 204, and keeps what it got."""

    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            found.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(found.statuses.pop(0) if found.statuses else 204)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/hook"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def hook(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    return {"url": receiver.url, "secret": SECRET, "events": ["job.done", "job.failed", "job.cancelled"], **changes}


async def delivered(jobs: Jobs, state: str) -> dict[str, Any]:
    """Wait until the job's message is in a state."""
    for _ in range(2000):
        found = jobs.deliveries.of_job("job_1")
        if found and found[0]["state"] == state:
            return found[0]
        await asyncio.sleep(0.005)
    raise AssertionError(jobs.deliveries.of_job("job_1"))


def test_a_done_job_is_told_with_a_signature_that_the_standards_library_accepts(bench: Any, receiver: Receiver) -> None:
    async def main() -> None:
        async with bench.running(webhooks=FAST) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            sent = await delivered(jobs, "delivered")
            assert [one["status"] for one in sent["attempts"]] == [204]

    asyncio.run(main())
    [(headers, body)] = receiver.got
    message = Webhook(SECRET).verify(body, headers)
    assert message["type"] == "job.done"
    assert message["data"]["id"] == "job_1"
    assert message["data"]["status"] == "done"
    assert message["data"]["links"]["result"] == "/jobs/job_1/result"
    assert SECRET not in body
    assert headers["content-type"] == "application/json"
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(SECRET).verify(body.replace("done", "DONE"), headers)


def test_a_receiver_that_fails_twice_gets_the_same_message_a_third_time(bench: Any, receiver: Receiver) -> None:
    receiver.statuses = [500, 503]

    async def main() -> None:
        async with bench.running(webhooks=FAST) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            sent = await delivered(jobs, "delivered")
            assert [one["status"] for one in sent["attempts"]] == [500, 503, 204]

    asyncio.run(main())
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1
    for headers, body in receiver.got:
        Webhook(SECRET).verify(body, headers)


def test_it_is_given_up_after_so_many_tries(bench: Any, receiver: Receiver) -> None:
    receiver.statuses = [500] * 10

    async def main() -> None:
        async with bench.running(webhooks=FAST) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            sent = await delivered(jobs, "failed")
            assert [one["status"] for one in sent["attempts"]] == [500] * 4
            assert sent["next"] is None

    asyncio.run(main())
    assert len(receiver.got) == 4


def test_a_receiver_that_is_gone_is_asked_no_more(bench: Any, receiver: Receiver) -> None:
    receiver.statuses = [410]

    async def main() -> None:
        async with bench.running(webhooks=FAST) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            await delivered(jobs, "failed")

    asyncio.run(main())
    assert len(receiver.got) == 1


def test_redirects_are_not_followed(bench: Any, receiver: Receiver) -> None:
    receiver.statuses = [302, 307]
    receiver.headers = {"location": receiver.url + "/elsewhere"}

    async def main() -> None:
        async with bench.running(webhooks=replace(FAST, max_tries=2)) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            sent = await delivered(jobs, "failed")
            assert [one["status"] for one in sent["attempts"]] == [302, 307]

    asyncio.run(main())
    assert len(receiver.got) == 2


def test_a_private_receiver_gets_nothing_unless_the_server_allows_it(bench: Any, receiver: Receiver) -> None:
    async def main() -> None:
        async with bench.running(webhooks=replace(FAST, allow_private=False)) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            sent = await delivered(jobs, "failed")
            assert "private or reserved" in sent["attempts"][0]["error"]
            assert len(sent["attempts"]) == 1

    asyncio.run(main())
    assert receiver.got == []


@pytest.mark.parametrize("url", ["http://localhost/", "http://[::1]/", "http://169.254.169.254/", "http://10.0.0.1/"])
def test_private_addresses_are_refused_before_the_job_is_made(url: str) -> None:
    with pytest.raises(Refused, match="private or reserved"):
        asyncio.run(check_receiver(url))


def test_messages_outlive_the_process(bench: Any, receiver: Receiver) -> None:
    receiver.statuses = [500]

    async def main() -> None:
        async with bench.running(webhooks=replace(FAST, first_delay_s=1.0, jitter=0.0)) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            while not jobs.deliveries.of_job("job_1") or not jobs.deliveries.of_job("job_1")[0]["attempts"]:
                await asyncio.sleep(0.005)
        assert len(receiver.got) == 1
        async with bench.running(webhooks=FAST) as jobs:
            await delivered(jobs, "delivered")

    asyncio.run(main())
    assert len(receiver.got) == 2


def test_only_the_events_that_were_asked_for_are_told(bench: Any, receiver: Receiver) -> None:
    bench.recognition.errors.append(AudioFormatError("no audio"))

    async def main() -> None:
        async with bench.running(webhooks=FAST) as jobs:
            await bench.submit(jobs, "job_0", webhook=hook(receiver, events=["job.done"]))
            await bench.status(jobs, "job_0", "failed")
            await bench.submit(jobs, "job_1", webhook=hook(receiver, events=["job.done"]))
            await delivered(jobs, "delivered")

    asyncio.run(main())
    assert [json.loads(body)["data"]["id"] for _, body in receiver.got] == ["job_1"]


def test_a_cancelled_job_is_told_too(bench: Any, receiver: Receiver) -> None:
    bench.recognition.hold()

    async def main() -> None:
        async with bench.running(webhooks=FAST) as jobs:
            await bench.submit(jobs, webhook=hook(receiver))
            await bench.status(jobs, "job_1", "running")
            await jobs.cancel("job_1")
            await delivered(jobs, "delivered")

    asyncio.run(main())
    assert json.loads(receiver.got[0][1])["type"] == "job.cancelled"


def test_a_silent_receiver_does_not_hold_up_the_others(bench: Any, receiver: Receiver) -> None:
    """Nobody accepts on this port: the connection stays in the backlog."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"

        async def main() -> None:
            async with bench.running(webhooks=replace(FAST, timeout_s=1.0)) as jobs:
                await bench.submit(jobs, "job_0", webhook=hook(receiver, url=url))
                await bench.submit(jobs, "job_1", webhook=hook(receiver))
                await delivered(jobs, "delivered")
                while not jobs.deliveries.of_job("job_0")[0]["attempts"]:
                    await asyncio.sleep(0.005)
                assert jobs.deliveries.of_job("job_0")[0]["attempts"][0]["error"]

        asyncio.run(main())


def test_delays_grow_with_jitter_up_to_a_limit() -> None:
    options = WebhookOptions(first_delay_s=5.0, factor=4.0, longest_delay_s=100.0, jitter=0.2)
    assert [options.delay_s(tries, 0.5) for tries in (1, 2, 3, 4)] == [5.0, 20.0, 80.0, 100.0]
    assert (options.delay_s(1, 0.0), options.delay_s(1, 1.0)) == (4.0, 6.0)


def test_a_secret_is_made_where_none_is_given() -> None:
    found = [read_webhook("https://example.org/hook"), read_webhook({"url": "https://example.org/hook"})]
    secrets = {one["secret"] for one in found if one is not None}
    assert len(secrets) == 2
    for secret in secrets:
        assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_the_signature_is_that_of_the_specification() -> None:
    # The example of the specification's libraries.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_log_of_deliveries_stands_in_the_job(make_site: Any, receiver: Receiver) -> None:
    receiver.statuses = [500]
    site = make_site()
    object.__setattr__(site.jobs.sender, "options", FAST)
    object.__setattr__(site.jobs.options, "webhooks", FAST)
    audio = b"RIFF\x00\x00\x00\x00WAVE and nothing that a fake would look at"
    reply = site.client.post("/jobs", files={"file": ("a.wav", audio)}, data={"webhook": receiver.url + "?key=hidden"})
    job = reply.json()
    assert job["webhook"]["secret"].startswith("whsec_")
    site.wait(job["id"])
    while True:
        found = site.client.get(f"/jobs/{job['id']}").json()["webhook"]
        if found["deliveries"] and found["deliveries"][0]["state"] == "delivered":
            break
    assert "secret" not in found
    assert found["url"] == receiver.url
    assert [one["status"] for one in found["deliveries"][0]["attempts"]] == [500, 204]
    assert found["deliveries"][0]["attempts"][0]["at"].endswith("Z")
