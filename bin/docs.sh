#!/bin/sh
# Build the documentation as a site, strictly: a link that leads nowhere is an error.
# usage: bin/docs.sh [DIRECTORY]   (build/site; open index.html in a browser, no server is needed)
set -eu
out=$(realpath -m "${1:-$(dirname "$0")/../build/site}")
cd "$(dirname "$0")/.."
.venv/bin/python -c 'import material, mkdocstrings_handlers.python' 2>/dev/null || bin/setup.sh docs
NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --site-dir "$out"
echo "docs: $out/index.html"
