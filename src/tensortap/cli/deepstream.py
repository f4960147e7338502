"""`tensortap deepstream-check`: whether this machine can run `--runtime deepstream`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from tensortap.cli.console import EXIT_FAILURE, DebugOption
from tensortap.deepstream_check import check


def deepstream_check(debug: DebugOption = False) -> None:
    """Test DeepStream on this machine step by step. Paste the output into a bug report."""
    failed = []
    print("tensortap deepstream-check")
    with tempfile.TemporaryDirectory(prefix="tensortap-") as folder:
        for finding in check(Path(folder)):
            print(f"{finding.state:4}  {finding.step}: {finding.detail}", flush=True)
            if finding.state == "FAIL":
                failed.append(finding.step)
    if failed:
        print(f"FAIL  {len(failed)} of the steps: {', '.join(failed)}")
        raise typer.Exit(EXIT_FAILURE)
    print("pass  everything")
