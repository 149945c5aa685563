#!/bin/sh
# Where the original's README has it: bin/lambdaize.sh.
exec "$(dirname "$(readlink -f "$0")")/../../bin/lambdaize.sh" "$@"
