"""Release of the bundle for MONAI's model zoo: packed, and checked apart from the repository."""

from scripts.release.assembly import BUNDLE_NAME, Release, assemble_release
from scripts.release.checks import CHECKS, Check, run_checks
from scripts.release.workplace import Workplace, unpack_release

__all__ = ["BUNDLE_NAME", "CHECKS", "Check", "Release", "Workplace", "assemble_release", "run_checks", "unpack_release"]
