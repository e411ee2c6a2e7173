"""Speed against what a user would otherwise do, both sides in one run: `python -m benchmarks.speed measure`."""
