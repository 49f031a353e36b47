# Installs what the services and the tests need, on Debian and its like. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

install() {
    local packages=()
    rabbitmq_program >/dev/null || packages+=(rabbitmq-server)
    has nginx || packages+=(nginx)
    has curl || packages+=(curl)
    has openssl || packages+=(openssl)
    if [ -z "${MONGODB_URL:-}" ] && ! has mongod; then
        has javac || packages+=(default-jdk-headless)
        has mvn || packages+=(maven)
    fi
    [ ${#packages[@]} -gt 0 ] || return 0

    local as=()
    if [ "$(id -u)" -ne 0 ]; then as=(sudo -n); fi
    if ! has apt-get || ! ${as[@]+"${as[@]}"} true 2>/dev/null; then
        fail "install these first (named as Debian names them): ${packages[*]}"
    fi
    echo "installing ${packages[*]}" >&2
    without_starting "${packages[@]}"
}

has() {
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null
}

# Debian starts a server once it is installed, and at each boot. We want the programs alone.
without_starting() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap '${as[@]+"${as[@]}"} rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' | ${as[@]+"${as[@]}"} tee $policy >/dev/null
        ${as[@]+"${as[@]}"} chmod +x $policy
    fi
    ${as[@]+"${as[@]}"} apt-get update --quiet --quiet >&2 || fail "apt-get could not fetch its lists"
    ${as[@]+"${as[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends "$@" >&2 </dev/null ||
        fail "apt-get could not install $*"
    if has systemctl; then
        for package in "$@"; do
            ${as[@]+"${as[@]}"} systemctl --quiet disable "$package" 2>/dev/null || true
        done
    fi
)
