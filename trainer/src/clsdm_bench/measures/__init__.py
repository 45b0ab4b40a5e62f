"""Measures besides error: distances of sets, agreement of latents, tests, memory, speed; and error where scans cover."""
