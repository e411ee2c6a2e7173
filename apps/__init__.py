"""Integrations beside the bundle: MONAI Label, MONAI Deploy, the PACS loop."""
