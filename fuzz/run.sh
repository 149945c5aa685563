#!/bin/sh
# fuzz/run.sh [SECONDS [TARGET...]]: fuzzes the parsers, the encoders and the whole handle of liblaunch, each for SECONDS
# (default: 60), starting from fuzz/corpus. Without clang's libFuzzer, the targets are built with gcc's sanitizers and get
# the corpus, pieces of it and random mutations; FUZZ_SEED (a number) seeds the mutations.
# The target "worker" fuzzes whole workers through real sockets (fuzz/worker.py).
# Ends with status 1 at the first finding; the input that shows it is then kept in fuzz/findings.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
library=src/mu/launch
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
targets=${*:-headers error_body path address payload_fill sign handle worker}
flags="-std=c11 -D_DEFAULT_SOURCE -g -O1 -Wall -Wextra -Werror -I$library -Ifuzz"
sanitize=-fsanitize=address,undefined

with_fuzzer=no
if command -v clang >/dev/null &&
    printf 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d[0] == n; }' >"$out/probe.c" &&
    clang -fsanitize=fuzzer "$out/probe.c" -o "$out/probe" 2>/dev/null; then
    with_fuzzer=yes
fi

export ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
for target in $targets; do
    if [ "$target" = worker ]; then
        python=.venv/bin/python
        [ -x $python ] || python=python3
        echo "fuzzing whole workers for $seconds s"
        PYTHONPATH=src:. $python fuzz/worker.py "$seconds"
        continue
    fi
    if [ $with_fuzzer = yes ]; then
        clang $flags $sanitize,fuzzer -fno-sanitize-recover=all "fuzz/$target.c" $library/*.c \
            -lcurl -lssl -lcrypto -o "$out/$target"
        mkdir -p "$out/corpus/$target" fuzz/findings
        echo "fuzzing $target for $seconds s"
        "$out/$target" -max_total_time="$seconds" -timeout=10 -verbosity=0 -artifact_prefix="fuzz/findings/$target-" \
            "$out/corpus/$target" "fuzz/corpus/$target" 2>"$out/log" || {
            cat "$out/log"
            exit 1
        }
        rmdir fuzz/findings
    else
        cc $flags $sanitize -fno-sanitize-recover=all "fuzz/$target.c" fuzz/replay.c $library/*.c \
            -lcurl -lssl -lcrypto -o "$out/$target"
        mkdir -p fuzz/findings
        echo "replaying the corpus of $target, and mutations of it for $seconds s"
        FUZZ_SECONDS=$seconds FUZZ_FINDING=fuzz/findings/$target "$out/$target" fuzz/corpus/"$target"/*
        rmdir fuzz/findings
    fi
done
echo "no findings"
