#!/usr/bin/env bash
# `npm test`: all tests. Arguments go to vitest (`npm test -- test/parser`).
#
# On Debian, as root, the programs that some tests need are installed first, if they are missing (table:
# test/support/packages.json). Where one cannot be had, this says so and names the files that need it; the tests
# themselves are named at the end. Servers that tests need are started and stopped by the tests, on loopback.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

wanted=$(bash scripts/test-packages.sh)
while read -r program name; do
  [ -n "$program" ] || continue
  say "MISSING: $program (Debian package $name). Tests in these files will not run:"
  { grep -rlF --include='*.test.ts' "\"$program\"" test || echo '(none)'; } | sed 's/^/  /' >&2
done <<<"$wanted"
if [ "$(id -u)" != 0 ]; then
  say 'MISSING: the root user. Tests in these files will not run:'
  { grep -rlF --include='*.test.ts' '"root"' test || echo '(none)'; } | sed 's/^/  /' >&2
fi

# Short names, since sockets lie below them, whose paths must not be longer than 107 bytes. Other users come here, too.
memory=$(mktemp -d "${TMPDIR:-/tmp}/XXXXXX")
COOPER_TEST_CACHE=$(mktemp -d "${TMPDIR:-/tmp}/cooper-test.XXXXXX")
export COOPER_TEST_CACHE
clean_up() {
  ! mountpoint -q "$memory" || umount --lazy "$memory"
  rm -rf "$memory" "$COOPER_TEST_CACHE"
}
trap clean_up EXIT

# Whether there is memory to spare for the files of tests. What lies in it must take the attributes that a rootless
# overlay needs, as on a disk: Linux 6.6 and later.
memory_file_system() {
  [ "$(node -p 'process.availableMemory() >= 8 * 2 ** 30')" = true ] &&
    mount -t tmpfs -o size=5g,mode=1777 cooper-test "$memory" 2>/dev/null &&
    setfattr -n user.cooper -v try "$memory"
}

# A disk makes some tests three times as slow, at times ten times; see test/support/scratch.ts for those that want one.
if memory_file_system; then
  export COOPER_TEST_MEMORY=$memory
else
  say 'Tests keep all their files on the disk, which is slower: it takes root, 8 GiB of free memory and Linux 6.6 not to.'
fi
status=0
node node_modules/vitest/vitest.mjs run --reporter=./test/support/not-run-reporter.ts --reporter=default "$@" </dev/null || status=$?
exit "$status"
