#!/bin/sh
# Install what checks the OpenAPI document into .tools, or do nothing when that is current:
# redocly (needs Node.js 20.19 or newer with npm) and openapi-python-client. The client
# generator has an environment of its own because it needs an older typer than the service.
set -eu
cd "$(dirname "$0")/.."

tools=.tools
locks=infra/locks

say() { (IFS=' '; printf 'faceline: %s\n' "$*") >&2; }

# current TOOL LOCK PROGRAM: whether TOOL was installed from LOCK
current() {
    [ -x "$3" ] && [ -f "$tools/$1.lock" ] && cmp -s "$2" "$tools/$1.lock"
}

install_client_generator() {
    venv=$tools/openapi-client
    current openapi-client "$locks/openapi-client.txt" "$venv/bin/openapi-python-client" && return
    say "installing openapi-python-client (from the lock, checked against its hashes)"
    rm -rf "$venv"
    .venv/bin/python -m venv --without-pip "$venv"
    .venv/bin/python -m pip --python "$venv/bin/python" install --quiet --no-deps \
        --disable-pip-version-check --require-hashes -r "$locks/openapi-client.txt"
    cp "$locks/openapi-client.txt" "$tools/openapi-client.lock"
}

install_redocly() {
    folder=$tools/redocly
    lock=$locks/redocly/package-lock.json
    current redocly "$lock" "$folder/node_modules/.bin/redocly" && return
    command -v npm >/dev/null || { say "npm is not installed: redocly's rules are not checked"; return; }
    say "installing redocly (from the lock, checked against its hash)"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$locks"/redocly/package*.json "$folder"
    npm ci --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts
    cp "$lock" "$tools/redocly.lock"
}

mkdir -p "$tools"
install_client_generator
install_redocly
