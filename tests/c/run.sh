#!/bin/sh
# Builds liblaunch and its C tests with all warnings as errors, and runs them under AddressSanitizer and UBSan, and
# under valgrind where it is installed. Each program has a time limit of MU_C_TEST_LIMIT seconds (default: 600; under
# valgrind five times as many); one that exceeds it is killed and counts as failed.
set -eu
cd "$(dirname "$0")/../.."
library=src/mu/launch
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=c11 -D_DEFAULT_SOURCE -g -Wall -Wextra -Werror -I$library -Itests/c"
wrap="-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc"

# Functions that write without a bound on the buffer's size, keep hidden state, or cannot report errors.
banned='strcpy|strcat|strncpy|strncat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca|system|setjmp|longjmp'
if grep -nE "(^|[^a-z_])($banned) *\(" $library/*.c; then
    echo "tests/c/run.sh: the functions above are forbidden" >&2
    exit 1
fi

build() { # NAME FLAGS...: compiles $out/NAME/<test> for each test
    mkdir "$out/$1"
    name=$1
    shift
    for source in $library/*.c tests/c/server.c; do
        ${CC:-cc} $flags "$@" -c "$source" -o "$out/$name/$(basename "$source" .c).o" &
        running="${running:-} $!"
    done
    for process in $running; do wait "$process"; done
    running=
    for test in test_parsers test_handle test_memory; do
        case $test in test_memory) extra=$wrap ;; *) extra= ;; esac
        # shellcheck disable=SC2086
        ${CC:-cc} $flags "$@" $extra "tests/c/$test.c" "$out/$name"/*.o -lcurl -lssl -lcrypto -lpthread \
            -o "$out/$name/$test"
    done
}

limit=${MU_C_TEST_LIMIT:-600}
run() { # SECONDS COMMAND...: kills a command that takes longer, with a message
    seconds=$1
    shift
    status=0
    timeout -k 5 "$seconds" "$@" || status=$?
    case $status in
    0) ;;
    124 | 137) echo "tests/c/run.sh: $*: killed after $seconds s" >&2 ;;
    esac
    return $status
}

build sanitized -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
export UBSAN_OPTIONS=print_stacktrace=1
for test in test_parsers test_handle test_memory; do
    run "$limit" "$out/sanitized/$test"
done

if command -v valgrind >/dev/null; then
    build plain -O1
    check="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"
    run $((5 * limit)) $check "$out/plain/test_parsers"
    run $((5 * limit)) $check "$out/plain/test_handle"
    run $((5 * limit)) $check "$out/plain/test_memory" 97
fi
echo "C tests: all passed"
