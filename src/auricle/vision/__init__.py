"""Images in, pixel values out: `sources` opens what a caller hands over, `preprocess` makes what a model sees."""
