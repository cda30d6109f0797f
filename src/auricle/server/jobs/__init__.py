"""Long work: jobs that outlive the connection and the process, uploads that go on where they broke, webhooks."""

from auricle.server.jobs.service import Jobs

__all__ = ["Jobs"]
