"""nvinfer's configuration files: read, checked and written, in every runtime. Nothing here needs DeepStream."""
