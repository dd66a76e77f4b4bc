# Shared by the scripts beside it: steps with a verdict each, and what has to be installed.

step_names=()
step_results=()
failures=0

# step NAME COMMAND...: runs it, and remembers how it went.
step() {
    local name=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    if "$@"; then
        step_results+=("ok      $((SECONDS - began)) s")
    else
        step_results+=("FAILED  $((SECONDS - began)) s")
        failures=$((failures + 1))
    fi
    step_names+=("$name")
}

# note NAME TEXT: a line of the summary that is neither.
note() {
    step_names+=("$1")
    step_results+=("$2")
}

summary() {
    printf '\n== summary\n'
    for i in "${!step_names[@]}"; do
        printf '%-20s %s\n' "${step_names[$i]}" "${step_results[$i]}"
    done
    [ "$failures" = 0 ]
}

# need PROGRAM DEBIAN-PACKAGE: installs the package where the program is missing.
need() {
    [ -x "/usr/sbin/$1" ] || command -v "$1" >/dev/null 2>&1 && return 0
    echo "installing $2"
    if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
    if [ -z "${apt_updated:-}" ]; then
        $as_root apt-get update -qq && apt_updated=1
    fi
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$2" >/dev/null || {
        echo "could not install $2, which the tests need for $1" >&2
        return 1
    }
}

# need_file FILE DEBIAN-PACKAGE: installs the package where the file is missing.
need_file() {
    [ -e "$1" ] || need "/nonexistent${1##*/}" "$2"
}

# cargo_tool NAME [VERSION]: a cargo subcommand, built from its package where it is missing.
cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    echo "installing cargo-$1 (a few minutes, once)"
    cargo install --locked --quiet "cargo-$1${2:+@$2}"
}

# node_modules WEB: the npm packages of the web UI, unless they are those of the lock file already.
node_modules() {
    cmp -s "$1/package-lock.json" "$1/node_modules/.rscaler-lock" && return 0
    echo "installing the web UI's packages"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error) && cp "$1/package-lock.json" "$1/node_modules/.rscaler-lock"
}

# Types, lints and unit tests of the web UI, and lints of the API's own page.
web() {
    node -e 'process.exit(Number.parseInt(process.versions.node) < 20 ? 1 : 0)' || {
        echo "Node.js 20 or newer is needed, and this is $(node --version)" >&2
        return 1
    }
    node_modules ui/web && (cd ui/web && npm run --silent typecheck && npm run --silent lint &&
        npm test --silent)
}

install_test_tools() {
    command -v cargo >/dev/null || { echo "a Rust toolchain is needed: https://rustup.rs" >&2; return 1; }
    need cc gcc && need sshd openssh-server && need ssh openssh-client && need sudo sudo &&
        need openssl openssl && need ps procps && need ip iproute2 && need bash bash && need dash dash &&
        need javac openjdk-17-jdk-headless &&
        need_file /usr/share/tomcat10/bin/bootstrap.jar tomcat10-common &&
        need_file /usr/share/java/tomcat10-catalina.jar libtomcat10-java &&
        need_file /usr/share/java/jolokia-core.jar libjolokia-core-java &&
        need_file /usr/share/java/jetty9-server.jar libjetty9-java &&
        need node nodejs && need npm npm && need chromium chromium &&
        cargo_tool nextest && cargo_tool deny
}

deny() {
    cargo deny --all-features --config .deny.toml check "$@"
}

# Known vulnerabilities, where the database of advisories can be had.
advisories() {
    local said
    if said=$(deny advisories 2>&1); then
        note "advisories" "ok"
    elif grep -qiE 'failed to (fetch|clone|connect|open)|could not (resolve|connect)|network' <<<"$said"; then
        note "advisories" "not checked: the advisory database can not be reached from here"
    else
        echo "$said"
        note "advisories" "FAILED"
        failures=$((failures + 1))
    fi
}
