"""Fetching by URL: its limits, its refusals, and where the connection really goes."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from auricle.audio import fetch as fetch_module
from auricle.audio.decode import AudioLimits, load_audio, open_audio
from auricle.audio.fetch import is_public
from auricle.errors import AudioError, AudioFormatError, AudioTooLargeError, AudioURLError

ALLOWED = AudioLimits(allow_private_urls=True)


class Site(ThreadingHTTPServer):
    """A web server whose pages are functions of the request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Callable[[Handler], None]] = {}
        self.hosts: list[str] = []
        self.ended = threading.Event()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"

    def handle_error(self, request: Any, address: Any) -> None:
        """Clients that give up in the middle are what is tested."""


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])
        self.server.pages[self.path.partition("?")[0]](self)

    def reply(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def public_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take 127.0.0.1 for a public address, and leave every other rule as it is."""
    monkeypatch.setattr(fetch_module, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


def test_a_recording_is_fetched_whatever_its_content_type(site, wav):
    site.pages["/a.wav"] = lambda handler: handler.reply(wav, Content_Type="application/json")
    audio = open_audio(site.url("/a.wav?token=secret"), limits=ALLOWED)
    assert audio.name == site.url("/a.wav")
    np.testing.assert_array_equal(audio.read(), load_audio(wav))


def test_an_mp4_with_its_index_at_the_end_is_fetched(site, encode):
    film = encode("mp4", "aac", sample_rate=16000, video=True)
    site.pages["/film"] = lambda handler: handler.reply(film)
    np.testing.assert_array_equal(load_audio(site.url("/film"), limits=ALLOWED), load_audio(film))


def test_redirects_are_followed_up_to_the_limit(site, wav):
    site.pages["/here"] = lambda handler: handler.reply(b"", 302, Location="/there")
    site.pages["/there"] = lambda handler: handler.reply(wav)
    site.pages["/loop"] = lambda handler: handler.reply(b"", 301, Location="/loop")
    assert load_audio(site.url("/here"), limits=ALLOWED).size == 32000
    with pytest.raises(AudioURLError, match="redirects more than 0 times"):
        load_audio(site.url("/here"), limits=AudioLimits(allow_private_urls=True, max_redirects=0))
    with pytest.raises(AudioURLError, match="redirects more than 5 times"):
        load_audio(site.url("/loop"), limits=ALLOWED)
    assert site.hosts.count(f"127.0.0.1:{site.server_port}") == 3 + 6


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://example.org/a.wav"])
def test_a_redirect_to_another_scheme_is_refused(site, location):
    site.pages["/a"] = lambda handler: handler.reply(b"", 302, Location=location)
    with pytest.raises(AudioURLError, match="only these are fetched"):
        load_audio(site.url("/a"), limits=ALLOWED)


@pytest.mark.parametrize("status", [401, 403, 404, 500, 204])
def test_any_status_but_200_is_named(site, status):
    site.pages["/a.wav"] = lambda handler: handler.reply(b"", status)
    with pytest.raises(AudioURLError, match=f"answered {status}"):
        load_audio(site.url("/a.wav"), limits=ALLOWED)


def test_a_web_page_is_named(site):
    site.pages["/watch"] = lambda handler: handler.reply(b"\n<!DOCTYPE html><html>" + b" " * 9999)
    with pytest.raises(AudioURLError, match="leads to a web page"):
        load_audio(site.url("/watch"), limits=ALLOWED)


def test_what_is_no_recording_is_named(site):
    site.pages["/a.wav"] = lambda handler: handler.reply(b'{"error": "gone"}')
    site.pages["/b.wav"] = lambda handler: handler.reply(b"")
    with pytest.raises(AudioFormatError, match="text that begins"):
        load_audio(site.url("/a.wav"), limits=ALLOWED)
    with pytest.raises(AudioFormatError, match=r"empty \(0 bytes\)"):
        load_audio(site.url("/b.wav"), limits=ALLOWED)


def test_too_many_bytes_are_refused_before_and_while_they_arrive(site):
    limits = AudioLimits(allow_private_urls=True, max_bytes=100_000)

    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.ended.is_set():
            handler.wfile.write(bytes(10_000))

    site.pages["/endless"] = endless
    site.pages["/huge"] = lambda handler: handler.reply(b"", length=10**15)
    with pytest.raises(AudioTooLargeError, match="has 1000000000000000 bytes; at most 100000"):
        load_audio(site.url("/huge"), limits=limits)
    with pytest.raises(AudioTooLargeError, match="gives more than 100000 bytes"):
        load_audio(site.url("/endless"), limits=limits)


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_trickles_is_given_up_in_time(site, part):
    def trickle(handler: Handler) -> None:
        if part == "body":
            handler.send_response(200)
            handler.end_headers()
        while not handler.server.ended.wait(0.02):
            handler.wfile.write(b"H")

    site.pages["/slow"] = trickle
    started = time.monotonic()
    with pytest.raises(AudioURLError, match=r"not received within 0\.3 s"):
        load_audio(site.url("/slow"), limits=AudioLimits(allow_private_urls=True, url_timeout=0.3))
    assert time.monotonic() - started < 2


def test_a_server_that_falls_silent_is_given_up(site):
    site.pages["/silent"] = lambda handler: handler.server.ended.wait(5)
    with pytest.raises(AudioURLError, match="could not be fetched: timed out"):
        load_audio(site.url("/silent"), limits=AudioLimits(allow_private_urls=True, url_stall_timeout=0.1))


def test_a_connection_that_breaks_is_named(site, wav):
    site.pages["/a.wav"] = lambda handler: handler.reply(wav[:1000], length=len(wav))
    with pytest.raises(AudioURLError, match="could not be fetched"):
        load_audio(site.url("/a.wav"), limits=ALLOWED)


def test_a_compressed_reply_is_refused(site):
    site.pages["/bomb"] = lambda handler: handler.reply(b"\x1f\x8b", Content_Encoding="gzip")
    with pytest.raises(AudioURLError, match="sends gzip"):
        load_audio(site.url("/bomb"), limits=ALLOWED)


def test_a_url_to_nothing_is_refused():
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(AudioURLError, match="could not be fetched"):
            load_audio(f"http://127.0.0.1:{taken.getsockname()[1]}/a.wav", limits=ALLOWED)


def test_a_host_that_does_not_exist_is_refused():
    with pytest.raises(AudioURLError, match=r"host 'no-such-host\.invalid' cannot be found"):
        load_audio("http://no-such-host.invalid/a.wav")


@pytest.mark.parametrize("url", ["http://", "http:///a.wav", "https://[", "http://a:99999999/", "http://\n"])
def test_malformed_addresses_are_refused(url):
    with pytest.raises(AudioURLError):
        load_audio(url)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"],
)
def test_private_addresses_are_refused_however_they_are_written(site, host):
    with pytest.raises(AudioURLError, match=r"private or reserved address|cannot be found"):
        load_audio(site.url("/a.wav", host))
    assert site.hosts == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:db8::1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address):
    assert is_public(address)


def test_a_redirect_to_a_private_address_is_refused(site, public_loopback):
    site.pages["/a"] = lambda handler: handler.reply(b"", 302, Location=site.url("/b", "127.0.0.2"))
    with pytest.raises(AudioURLError, match=r"leads to 127\.0\.0\.2, a private or reserved address"):
        load_audio(site.url("/a"))


def test_every_address_of_a_host_is_checked(monkeypatch):
    def two_addresses(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with pytest.raises(AudioURLError, match=r"leads to 10\.0\.0\.1"):
        load_audio("http://recordings.example/a.wav")


@pytest.fixture
def rebinding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name server that gives 127.0.0.1 for recordings.example once, and another address ever after."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "recordings.example":
            return real(host, *arguments, **options)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_the_connection_goes_to_the_address_that_was_checked(site, wav, public_loopback, rebinding):
    site.pages["/a.wav"] = lambda handler: handler.reply(wav)
    assert load_audio(site.url("/a.wav", "recordings.example")).size == 32000
    assert rebinding == ["recordings.example"]
    assert site.hosts == [f"recordings.example:{site.server_port}"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the openssl command")
@pytest.mark.parametrize("certified", ["recordings.example", "elsewhere.example"])
def test_https_checks_the_certificate_against_the_name(
    site, wav, public_loopback, rebinding, tmp_path, monkeypatch, certified
):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out cert"
    subject = ["-subj", f"/CN={certified}", "-addext", f"subjectAltName=DNS:{certified}"]
    subprocess.run([*command.split(), *subject], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    names: list[str | None] = []
    context.sni_callback = lambda connection, name, context: names.append(name)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    site.pages["/a.wav"] = lambda handler: handler.reply(wav)
    url = site.url("/a.wav", "recordings.example").replace("http:", "https:")
    if certified == "recordings.example":
        assert load_audio(url).size == 32000
    else:
        with pytest.raises(AudioURLError, match="could not be fetched"):
            load_audio(url)
    assert names == ["recordings.example"]


def test_passwords_are_sent_and_never_shown(site, wav):
    seen: list[str | None] = []

    def page(handler: Handler) -> None:
        seen.append(handler.headers["Authorization"])
        handler.reply(b"", 403)

    site.pages["/a.wav"] = page
    with pytest.raises(AudioError) as caught:
        load_audio(site.url("/a.wav?key=secret", "user:secret@127.0.0.1"), limits=ALLOWED)
    assert "secret" not in str(caught.value)
    assert seen == ["Basic dXNlcjpzZWNyZXQ="]


@pytest.mark.parametrize(("url", "said"), [("http://", "http:"), ("http:///a.wav", "http:/a.wav")])
def test_addresses_without_a_host_are_refused_as_they_are_read(url, said):
    with pytest.raises(AudioURLError, match=f"^{said} is no http or https address of a host"):
        open_audio(url)
