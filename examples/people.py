"""Print where everybody's nose is: python examples/people.py VIDEO MODEL"""

import sys

import tensortap


def main(video: str, model: str) -> None:
    """One line a person."""
    with tensortap.Pipeline(video, model=model, outputs="people.jsonl") as pipeline:
        for result in pipeline:
            for track_id, (x, y, score) in zip(result.poses.track_ids, result.poses.keypoints[:, 0], strict=True):
                print(f"{result.info.pts_ns / 1e9:8.3f} s  person {track_id}  nose at {x:.0f}, {y:.0f} ({score:.2f})")


if __name__ == "__main__":
    main(*sys.argv[1:3])
