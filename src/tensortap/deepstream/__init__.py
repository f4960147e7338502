"""The DeepStream runtime: NVIDIA's GStreamer elements make the tensors, a probe hands them to the same code as everywhere."""
