"""INT8 models from float ones: calibration, the backends' own quantisers, and what was lost."""
