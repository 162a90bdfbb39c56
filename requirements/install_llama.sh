#!/usr/bin/env bash
# Installs llama-cpp-python into the virtual environment given as $1; with --cache as $2 it only prints the folder of its wheel.
# The package comes as source. It is compiled once for this processor and the wheel is kept outside
# the work tree, so that a fresh clone on the same machine is ready in seconds.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")" && pwd)
python="$venv/bin/python"

# A wheel built with AVX-512 aborts on a processor without it: the processor's features are part of the key.
features=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || uname -m)
key=$({ cat "$here/llama.txt" "$here/build.txt"; echo "$features ${CMAKE_ARGS:-}"; "$python" -VV; } | sha256sum | cut -c1-16)
cache="${NOA_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/noa}/wheels/$key"
if [ "${2:-}" = --cache ]; then echo "$cache"; exit; fi

wheel() { find "$cache" -maxdepth 1 -name 'llama_cpp_python-*.whl' 2>/dev/null | head -n 1; }

report_progress() { # $1: the build's process, $2: its log
  local start=$SECONDS last='' every=2 line
  [ -t 1 ] || every=30
  while kill -0 "$1" 2>/dev/null; do
    sleep "$every"
    last=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$2" | tail -n 1 | tr -d ' []' || true)
    line="   llama.cpp: ${last:-preparing}${last:+ files compiled}, $((SECONDS - start)) s"
    if [ -t 1 ]; then printf '\r%s ' "$line"; else echo "$line"; fi
  done
  [ -t 1 ] && echo
  return 0
}

if [ -z "$(wheel)" ]; then
  command -v c++ >/dev/null || { echo "A C++ compiler is needed to build llama.cpp (Debian: apt install g++)." >&2; exit 1; }
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  echo "== Building llama.cpp for this machine's processor. It comes as source so that it can use every"
  echo "   instruction this processor has; this takes about 4 minutes on 2 cores, once. Kept in $cache"
  PATH="$(cd "$venv/bin" && pwd):$PATH" "$python" -m pip wheel --verbose --no-deps --no-build-isolation --require-hashes \
    -r "$here/llama.txt" -w "$work" >"$work/build.log" 2>&1 &
  build=$!
  report_progress "$build" "$work/build.log"
  if ! wait "$build"; then
    tail -n 40 "$work/build.log" >&2
    echo "llama.cpp could not be built; the last lines of its log are above." >&2
    exit 1
  fi
  mv "$work"/llama_cpp_python-*.whl "$cache/"
fi
"$python" -m pip install --quiet --no-deps --no-index --force-reinstall "$(wheel)"
