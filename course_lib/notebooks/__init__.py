"""The notebooks as files: built from their sources, run with a live bar, exported as web pages, moved to another address."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository's top folder."""

FOLDER = ROOT / "notebooks"
"""Where the notebooks lie; their sources are in src/, beside them."""
