"""Long work: jobs that outlive the connection and the process, uploads that go on where they broke, webhooks."""

from auricle.server.jobs.service import JobOptions, Jobs, adapting, options_of

__all__ = ["JobOptions", "Jobs", "adapting", "options_of"]
