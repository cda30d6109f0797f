"""One file for each family of routes; each has `router(services)`."""
