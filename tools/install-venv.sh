#!/bin/sh
# Debian and Ubuntu ship Python without venv: bring it, as root or through sudo.
set -eu
python=${1:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo "")
if ! command -v apt-get >/dev/null; then
    echo "Python's venv module is missing. Install Python 3.10 to 3.13 with venv and try again." >&2
    exit 1
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -q
$as_root apt-get install -q -y --no-install-recommends python3 "python${version:-3}-venv"
