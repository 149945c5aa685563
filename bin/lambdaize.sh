#!/bin/sh
# Package an executable as a Lambda function: `mu lambdaize`.
root=$(dirname "$(dirname "$(readlink -f "$0")")")
for python in "$root/.venv/bin/python" python3; do
    # -P: what lies in the current directory is not imported.
    if "$python" -P -c 'import mu.cli' 2>/dev/null; then
        exec "$python" -P -m mu lambdaize "$@"
    fi
done
echo "lambdaize.sh: mu is not set up: run $root/bin/setup.sh" >&2
exit 1
