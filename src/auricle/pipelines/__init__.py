"""One file per task; `pipeline()` finds the one to use."""
