#!/usr/bin/env bash
# `npm run check`: types, lint and format. The last takes as long as the others, and each keeps one processor busy.
set -uo pipefail
cd "$(dirname "$0")/.."
prettier --check --log-level warn . &
format=$!
status=0
tsc --noEmit && oxlint --type-aware --deny-warnings || status=1
wait "$format" || status=1
exit "$status"
