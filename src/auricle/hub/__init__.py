"""A name in, a local folder out: the cache first, the network only for what is missing."""
