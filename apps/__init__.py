"""Integrations beside the bundle: MONAI Label, MONAI Deploy. Each serves the packed release, unchanged."""
