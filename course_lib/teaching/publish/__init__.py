"""The notebooks as files: built from sources, run in a terminal, exported as pages, slides and a site."""
