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

COOPER_TEST_CACHE=$(mktemp -d "${TMPDIR:-/tmp}/cooper-test.XXXXXX")
export COOPER_TEST_CACHE
trap 'rm -rf "$COOPER_TEST_CACHE"' EXIT
status=0
node node_modules/vitest/vitest.mjs run --reporter=./test/support/not-run-reporter.ts --reporter=default "$@" </dev/null || status=$?
exit "$status"
