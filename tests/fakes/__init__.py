"""NVIDIA's SDK, played: what its buffers hold, and the two bindings of Python on top of that, with their traps.

`sdk.py` is the C side; `pyds.py` and `servicemaker.py` are the bindings; `simulation.py` lets buffers flow. They do what the
facts collected in docs/deepstream.md say; `tests/unit/deepstream/test_fakes.py` holds them to it.
"""
