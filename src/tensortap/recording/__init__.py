"""Recordings: a run's tensors in a folder of plain files, and their replay. The layout is in docs/recording.md."""
