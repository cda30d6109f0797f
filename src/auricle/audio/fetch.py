"""A recording from the web, within limits, and never from an address that only this machine can reach.

A name is resolved once; every address that it gives is checked, and the connection goes to a checked address
itself, so that a second look-up cannot lead elsewhere. Each redirect is checked in the same way.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

import httpx

from auricle.audio.limits import AudioLimits
from auricle.audio.sniff import is_html
from auricle.audio.spool import spool
from auricle.errors import AudioTooLargeError, AudioURLError

_REDIRECTS = {301, 302, 303, 307, 308}
_CONNECT_TIMEOUT = 10.0  # seconds
_CHUNK_BYTES = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 as IPv6-only networks write it (RFC 6052)
_HEADERS = {
    "User-Agent": "auricle",
    "Accept": "audio/*, video/*, */*;q=0.5",
    "Accept-Encoding": "identity",
}


def fetch(url: str, limits: AudioLimits) -> BinaryIO:
    """Download a recording to memory or a temporary file and return it, open at its beginning.

    Raises: AudioURLError, AudioTooLargeError
    """
    # A thread, because neither a name look-up nor a server that sends its headers a byte at a time can be
    # given a total time. One that is too late ends by itself at its next chunk or timeout.
    results: queue.Queue[BinaryIO | Exception] = queue.Queue(1)
    stop = threading.Event()

    def work() -> None:
        try:
            results.put(_download(url, limits, stop))
        except Exception as error:  # raised again below, in the caller's thread
            results.put(error)

    threading.Thread(target=work, name="auricle-fetch", daemon=True).start()
    try:
        result = results.get(timeout=limits.url_timeout)
    except queue.Empty:
        raise AudioURLError(
            f"{shown(url)} was not received within {limits.url_timeout:g} s; try again, download it yourself, "
            "or raise AudioLimits.url_timeout"
        ) from None
    finally:
        stop.set()
    if isinstance(result, Exception):
        raise result
    return result


def shown(url: str) -> str:
    """Give the URL without what may be secret, for messages.

    >>> shown("https://user:password@example.org/a.wav?token=1")
    'https://example.org/a.wav'
    """
    scheme, mark, rest = url.partition("#")[0].partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _download(url: str, limits: AudioLimits, stop: threading.Event) -> BinaryIO:
    """Follow redirects, each to a checked address, until a reply is a recording or an error."""
    name = shown(url)
    stall = limits.url_stall_timeout
    timeout = httpx.Timeout(stall, connect=min(_CONNECT_TIMEOUT, stall))
    client = httpx.Client(
        timeout=timeout,
        headers=_HEADERS,
        verify=httpx.create_ssl_context(),  # also the certificates that SSL_CERT_FILE names
        # A proxy would look the name up by itself, so it is used only where every address is allowed.
        trust_env=limits.allow_private_urls,
    )
    with client:
        try:
            target = httpx.URL(url)
            for _ in range(limits.max_redirects + 1):
                with closing(_send(client, target, limits)) as response:
                    if response.status_code not in _REDIRECTS:
                        return _receive(response, limits, name, stop)
                    target = target.join(response.headers.get("location", ""))
        except httpx.InvalidURL as error:
            raise AudioURLError(f"{name} is no valid address: {error}; check how it is written") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise AudioURLError(f"{name} could not be fetched: {reason}; check the address and the network") from error
    raise AudioURLError(
        f"{name} redirects more than {limits.max_redirects} times; give the recording's own address, or raise "
        "AudioLimits.max_redirects"
    )


def _send(client: httpx.Client, target: httpx.URL, limits: AudioLimits) -> httpx.Response:
    """Ask for a URL, at one of the addresses that were checked."""
    if target.scheme not in ("http", "https") or not target.host:
        raise AudioURLError(f"{shown(str(target))} is no http or https address of a host; only these are fetched")
    if limits.allow_private_urls:
        return client.send(client.build_request("GET", target), stream=True)
    # The name stays in the Host header, in TLS's server name and in the certificate check.
    headers = {"Host": target.netloc.decode("ascii")}
    extensions = {"sni_hostname": target.raw_host.decode("ascii")}
    refusal: httpx.ConnectError | None = None
    for address in _checked_addresses(target):
        pinned = target.copy_with(host=address)
        try:
            return client.send(client.build_request("GET", pinned, headers=headers, extensions=extensions), stream=True)
        except httpx.ConnectError as error:  # a host with a dead IPv6 address may answer over IPv4
            refusal = error
    assert refusal is not None
    raise refusal


def _checked_addresses(target: httpx.URL) -> list[str]:
    """Resolve the host of a URL and return its addresses, if all of them are public."""
    host = target.host
    try:
        port = target.port or {"http": 80, "https": 443}[target.scheme]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AudioURLError(f"{shown(str(target))}: the host {host!r} cannot be found: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise AudioURLError(
                f"{shown(str(target))} leads to {address}, a private or reserved address, which is refused; "
                "download it yourself or, if you trust the URL, set AudioLimits(allow_private_urls=True), which is "
                "--allow-private-urls on the command line"
            )
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also where IPv6 wraps an IPv4 address.

    >>> is_public("8.8.8.8"), is_public("::ffff:127.0.0.1"), is_public("169.254.169.254")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _receive(response: httpx.Response, limits: AudioLimits, name: str, stop: threading.Event) -> BinaryIO:
    """Check the reply's head and copy its body."""
    status, headers = response.status_code, response.headers
    if status != 200:
        raise AudioURLError(
            f"{name} answered {status} {response.reason_phrase}; 200 with a recording was expected: check the "
            "address, and whether it needs a login"
        )
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise AudioTooLargeError(
            f"{name} has {length} bytes; at most {limits.max_bytes} are fetched: raise AudioLimits.max_bytes"
        )
    coding = headers.get("content-encoding", "identity")
    if coding.lower() != "identity":  # what it unpacks to is not bounded by what it sends
        raise AudioURLError(f"{name} sends {coding} although the plain bytes were asked for; download it yourself")
    return spool(_chunks(response, name, stop), limits.max_bytes, name)


def _chunks(response: Any, name: str, stop: threading.Event) -> Iterator[bytes]:
    """Give the body in pieces, unless it begins as a web page."""
    first = True
    for chunk in response.iter_raw(_CHUNK_BYTES):
        if stop.is_set():
            raise AudioURLError(f"{name}: the download was given up")
        if first and is_html(chunk):
            raise AudioURLError(
                f"{name} leads to a web page (HTML), not to a recording; give the address of the file itself"
            )
        first = False
        yield chunk
