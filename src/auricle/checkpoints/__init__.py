"""A folder in, a configuration and tensors out; knows no model."""
