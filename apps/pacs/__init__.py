"""The PACS loop: studies are received or fetched, scored by the bundle, and their results sent back, once."""
