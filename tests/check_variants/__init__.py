"""For each check, other ways to be right, and typical mistakes with a word that the verdict must contain."""
