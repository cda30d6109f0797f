"""The reference of the API, drawn from openapi.json without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]


def test_every_route_is_listed_and_found_by_words(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/docs")
    paths = httpx.get(f"{scripted.url}/openapi.json").json()["paths"]
    n_routes = sum(len(methods) for methods in paths.values())
    operations = page.locator(".operation")
    expect(operations).to_have_count(n_routes)
    page.get_by_label("Find a route").fill("post export")
    expect(page.get_by_role("status")).to_have_text("1 route")
    expect(operations.locator("visible=true").locator(".path").first).to_have_text("/api/export/{form}")


def test_a_route_tells_its_parameters_its_body_and_its_answers(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/docs")
    page.locator("summary", has_text="/api/export").click()
    parameters = page.get_by_role("region", name="Parameters").locator("visible=true")
    expect(parameters.get_by_role("row", name="form")).to_contain_text("required")
    body = page.get_by_role("region", name="Body as application/json")
    expect(body.get_by_role("row", name="segments")).to_contain_text("list of object")
    expect(page.locator(".operation[open] .answers")).to_contain_text("200 Successful Response")
