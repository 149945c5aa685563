#!/bin/sh
# fuzz/run.sh [SECONDS]: fuzzes each parser and encoder of liblaunch for so long (default: 60), beginning with
# fuzz/corpus. Without clang's libFuzzer the corpus and simple mutations of it are replayed under gcc's sanitizers.
# Ends with status 1 at the first finding; the input that shows it is then kept in fuzz/findings.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
library=src/mu/launch
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=c11 -D_DEFAULT_SOURCE -g -O1 -Wall -Wextra -Werror -I$library -Ifuzz"
sanitize=-fsanitize=address,undefined

with_fuzzer=no
if command -v clang >/dev/null &&
    printf 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d[0] == n; }' >"$out/probe.c" &&
    clang -fsanitize=fuzzer "$out/probe.c" -o "$out/probe" 2>/dev/null; then
    with_fuzzer=yes
fi

for target in headers error_body path address payload_fill sign; do
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
        echo "replaying the corpus of $target"
        "$out/$target" fuzz/corpus/"$target"/*
    fi
done
echo "no findings"
