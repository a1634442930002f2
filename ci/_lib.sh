# shellcheck shell=bash
# What the scripts of ci share: messages, Debian packages, the virtual environment, the build.
# Sourced, not run. Works from any directory, with or without a terminal, as root or not.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # servers live there; an ordinary user's PATH may lack it
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

venv=${FTNET_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$root/$venv ;; esac

say() { printf '==> %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# quiet TITLE COMMAND...: one line while all goes well, the whole output when it does not. A function
# given to it must chain its commands with &&: bash does not stop at errors below a `||`.
quiet() {
  local title=$1 log status=0
  shift
  log=$(mktemp)
  say "$title"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  ((status == 0)) || cat "$log" >&2
  rm -f "$log"
  return "$status"
}

_apt() { # _apt SUDO... -- PACKAGE...
  local sudo=()
  while [[ $1 != -- ]]; do
    sudo+=("$1")
    shift
  done
  shift
  "${sudo[@]}" apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "$@"
}

# Debian starts the services that it installs: a policy-rc.d that says no (101) prevents that, and
# afterwards those that are new here are disabled, so that the next boot does not start them.
_apt_without_services() {
  local sudo=() policy=/usr/sbin/policy-rc.d ours=no status=0 unit units=()
  while [[ $1 != -- ]]; do
    sudo+=("$1")
    shift
  done
  if [[ ! -e $policy ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
  fi
  _apt "${sudo[@]}" "$@" || status=$?
  [[ $ours == no ]] || "${sudo[@]}" rm -f "$policy"
  if [[ -d /run/systemd/system ]]; then
    for unit in "${@:2}"; do
      if systemctl cat "$unit.service" >/dev/null 2>&1; then units+=("$unit"); fi
    done
    ((${#units[@]} == 0)) || "${sudo[@]}" systemctl disable --quiet "${units[@]}"
  fi
  return "$status"
}

# need_packages PACKAGE...: installs what is named; without the rights to, says what to run.
need_packages() {
  local sudo=()
  (($# > 0)) || return 0
  command -v apt-get >/dev/null || die "please install what these Debian packages hold: $*"
  if ((EUID != 0)); then
    sudo -n true 2>/dev/null || die "please run: sudo apt-get install $*"
    sudo=(sudo -n)
  fi
  quiet "apt-get install $*" _apt_without_services "${sudo[@]}" -- "$@"
}

# need_commands COMMAND:PACKAGE...: the packages of the commands that are not there.
need_commands() {
  local pair packages=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
  done
  need_packages "${packages[@]}"
}

_python_fits() {
  "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null
}

# Sets `python` to a Python >= 3.11 that can make virtual environments and compile extensions.
find_python() {
  local name missing=()
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && _python_fits "$name"; then
      python=$(command -v "$name")
      break
    fi
  done
  [[ -n ${python:-} ]] || die "no Python >= 3.11 on PATH"
  command -v cc >/dev/null || missing+=(build-essential)
  name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  "$python" -c 'import ensurepip' 2>/dev/null || missing+=("$name-venv")
  "$python" -c 'import os, sysconfig as s, sys
sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' ||
    missing+=("$name-dev")
  need_packages "${missing[@]}"
}

make_venv() {
  if [[ ! -x $venv/bin/python ]] || ! _python_fits "$venv/bin/python"; then
    find_python
    quiet "virtual environment in $venv ($("$python" -V))" "$python" -m venv --clear "$venv"
  fi
}

# What the built package depends on, in one word.
source_hash() {
  {
    "$venv/bin/python" -VV
    find setup.py pyproject.toml src -type f \
      \( -name '*.py' -o -name '*.py[xi]' -o -name '*.pxd' -o -name '*.toml' -o -name py.typed \
      -o -path '*/c/*' \) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1
}

_build() {
  "$venv/bin/python" -m pip install build &&
    rm -rf "$venv/dist" &&
    "$venv/bin/python" -m build --outdir "$venv/dist" .
}

# install_project EXTRA...: the package, built from its sdist as a user's pip would, and its extras.
# Does nothing when neither the sources nor the wanted extras changed since it last did.
install_project() {
  local stamp=$venv/ftnet-installed hash extra wanted=() wheel
  make_venv
  hash=$(source_hash)
  if [[ ! -e $stamp || $(head -n 1 "$stamp") != "$hash" ]]; then
    rm -f "$stamp"
    quiet "building ftnet" _build
    wheel=("$venv"/dist/*.whl)
    quiet "installing ftnet" \
      "$venv/bin/python" -m pip install --force-reinstall --no-deps "${wheel[0]}"
    quiet "installing what ftnet needs" "$venv/bin/python" -m pip install "${wheel[0]}"
    printf '%s\n' "$hash" >"$stamp"
  fi
  for extra in "$@"; do
    grep -qx -- "$extra" "$stamp" || wanted+=("$extra")
  done
  if ((${#wanted[@]} > 0)); then
    wheel=("$venv"/dist/*.whl)
    quiet "installing the extras ${wanted[*]}" \
      "$venv/bin/python" -m pip install "${wheel[0]}[$(IFS=, && echo "${wanted[*]}")]"
    printf '%s\n' "${wanted[@]}" >>"$stamp"
  fi
}
