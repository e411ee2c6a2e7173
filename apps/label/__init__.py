"""The bundle in MONAI Label: its own environment, the stock app, one more order of work."""
