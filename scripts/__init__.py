"""The code that the bundle's configs name."""
