"""One file per command; heavy imports wait until a command runs."""
