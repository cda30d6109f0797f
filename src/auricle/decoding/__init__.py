"""From scores to ids: CTC search, autoregressive search, filters and alignment. Knows no model and no file."""
