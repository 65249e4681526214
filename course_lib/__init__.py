"""The library behind the diffusion course: small enough to read in an evening, and meant to be."""
