"""What the routes of one app share; it hangs at `app.state.services`, is handed to every router, and is not global."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from auricle.server.access.authorization import Access
from auricle.server.access.rates import RateLimits
from auricle.server.cache import ResultCache
from auricle.server.jobs import Jobs
from auricle.server.live_streams import LiveStreams
from auricle.server.metrics import Metrics
from auricle.server.recognition import Recognition
from auricle.server.registry import Registry
from auricle.server.runner import Runner
from auricle.server.seeing import Seeing
from auricle.server.settings import Settings
from auricle.server.writings import Writings


@dataclass
class Services:
    """Made by `create_app`, closed by the app's lifespan."""

    settings: Settings
    registry: Registry
    runner: Runner
    recognition: Recognition
    writings: Writings
    seeing: Seeing
    jobs: Jobs
    cache: ResultCache | None
    access: Access
    rates: RateLimits
    streams: LiveStreams
    metrics: Metrics
    draining: asyncio.Event = field(default_factory=asyncio.Event)  # set when no more work is taken
