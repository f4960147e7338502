"""Look at a model's raw output: python examples/raw_tensors.py VIDEO MODEL"""

import sys

import tensortap


def main(video: str, model: str) -> None:
    """Shape, type and range of every output, for the first frames."""
    for frame in tensortap.Pipeline(video, model=model, max_frames=3).tensors():
        for name, tensor in frame.tensors.items():
            print(f"frame {frame.info.index}: {name} {tensor.dtype} {tensor.shape}, {tensor.min():.3g} to {tensor.max():.3g}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
