#!/usr/bin/env bash
# Installs the programs that tests need and that are missing (table: test/support/packages.json), on Debian, as root.
# Prints "program package" for each that is missing after that.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

# Prints "program package" for every program of the table that is not there.
missing_programs() {
  node -e '
    const table = JSON.parse(require("node:fs").readFileSync("test/support/packages.json", "utf8"));
    for (const [program, name] of Object.entries(table)) console.log(program, name);
  ' | while read -r program name; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || printf '%s %s\n' "$program" "$name"
  done
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null; }
lists_present() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }
install() { apt install --yes --no-install-recommends "$@" >/dev/null; }

# Installs the named packages; on failure refreshes the lists and tries once more, then each alone.
install_packages() {
  local policy=/usr/sbin/policy-rc.d own_policy=
  if ! [ -e "$policy" ]; then
    # Some packages start a service of their own when installed; the tests start what they need themselves.
    own_policy=1
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  lists_present || apt update || true
  if ! install "$@"; then
    say 'Trying again with fresh package lists.'
    apt update || true
    install "$@" || for name in "$@"; do install "$name" || say "apt cannot install $name."; done
  fi
  if [ -n "$own_policy" ]; then
    rm -f "$policy"
    trap - EXIT
  fi
}

wanted=$(missing_programs)
if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  mapfile -t names < <(awk '{ print $2 }' <<<"$wanted" | sort -u)
  say "Installing what the tests need: ${names[*]}"
  install_packages "${names[@]}"
  wanted=$(missing_programs)
fi
[ -z "$wanted" ] || printf '%s\n' "$wanted"
