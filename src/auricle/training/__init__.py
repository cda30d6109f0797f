"""Making models: data, augmentation, the loop, and runs that can be resumed."""
