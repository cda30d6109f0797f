"""A folder in the Hub's format in, configuration and tensors out; knows no model."""
