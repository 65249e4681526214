"""The notebooks as files: built from sources, run in a terminal, exported as pages, slides and a site."""

import os
import tempfile

if os.path.expanduser("~") == "~":  # a container's user without a home, which Jupyter, IPython and matplotlib need
    HOME = tempfile.TemporaryDirectory()
    os.environ["HOME"] = HOME.name
