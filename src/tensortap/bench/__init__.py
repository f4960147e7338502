"""Measuring models on this machine: the engine alone, frame to poses, and end to end."""
