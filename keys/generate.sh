#!/bin/sh
# Makes the five files behind a consumer key of Interactive Brokers (IBKR), listed in "usage".
# For any POSIX shell (on Windows: Git Bash) with OpenSSL 1.1, OpenSSL 3 or LibreSSL.

if [ -n "${ZSH_VERSION-}" ]; then emulate sh; fi # or zsh would not split a list of names
set -eu
umask 077 # private from the first byte
LC_ALL=C
export LC_ALL

private='private_signature.pem private_encryption.pem'
public='public_signature.pem public_encryption.pem dhparam.pem'

usage() {
    cat <<END
usage: $0 [FOLDER]

Makes in FOLDER (default: the folder of this script), with openssl:

  private_signature.pem   stays here: signs the request for the live session token
  private_encryption.pem  stays here: decrypts the access token secret
  public_signature.pem    to upload in the self-service portal
  public_encryption.pem   to upload
  dhparam.pem             to upload: the Diffie-Hellman parameters

It never overwrites: if one of them exists, it makes none. The only line on stdout is
the Diffie-Hellman prime in hex, for the field dh_prime of config.json.
END
}

fail() { # an error, a hint, and the end; what was begun is cleared away
    error "$1"
    hint "$2"
    exit 1
}
error() { printf 'error: %s\n' "$1" >&2; }
hint() { printf 'hint: %s\n' "$1" >&2; }
say() { printf '%s\n' "$1" >&2; }

case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
-*)
    error "unknown option $1"
    usage >&2
    exit 2
    ;;
esac
if [ $# -gt 1 ]; then
    error "one folder at most, not $#"
    usage >&2
    exit 2
fi

folder=${1-$(dirname -- "$0")}
if [ ! -d "$folder" ]; then
    error "no such folder: $folder"
    hint 'make it first, with mkdir'
    exit 1
fi

found=
for name in $private $public; do
    if [ -e "$folder/$name" ] || [ -h "$folder/$name" ]; then
        error "$folder/$name exists already"
        found=1
    fi
done
if [ -n "$found" ]; then
    hint 'nothing was changed, because a key that IBKR knows cannot be made again; name another folder'
    exit 1
fi

if ! command -v openssl >/dev/null; then
    error 'openssl not found'
    hint 'install it; on Windows run this script in Git Bash, which brings it along'
    exit 1
fi

# Everything is made in a folder of its own, and moved when it is complete.
new=$folder/.generate.$$
child=
claimed=

clean_up() {
    trap '' HUP INT QUIT PIPE TERM
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || :
        wait "$child" 2>/dev/null || :
    fi
    for name in $claimed; do rm -f "$folder/$name"; done
    rm -rf "$new"
}

interrupted() {
    trap '' PIPE
    error 'interrupted, nothing was made' || :
    exit "$1"
}

mkdir "$new" 2>/dev/null || fail "cannot write to the folder $folder" 'name one that you may write to'
trap 'code=$?; clean_up; exit "$code"' EXIT # mksh would exit with clean_up's own status
trap 'interrupted 129' HUP
trap 'interrupted 130' INT
trap 'interrupted 131' QUIT
trap 'interrupted 141' PIPE
trap 'interrupted 143' TERM
(: >"$new/log" && : >"$new/text") 2>/dev/null ||
    fail "cannot write to the folder $folder" 'is the disk full?'

# A shell answers a signal at once while it waits, but not while it runs a command. With exec, $!
# is openssl itself in every shell.
run_openssl() {
    (exec openssl "$@" 2>"$new/log") &
    child=$!
    code=0
    wait "$child" || code=$?
    child=
    if [ "$code" -ne 0 ]; then
        error "openssl $1 failed with status $code"
        grep -v '^[.+*]*$' "$new/log" >&2 || : # all that it said but the dots of its progress
        hint 'nothing was made; mend what openssl complains about and run this again'
        exit 1
    fi
}

# An openssl that says nothing of a full disk must not pass for one that made the whole file.
made() {
    grep -q '^-----END ' "$new/$1" 2>/dev/null ||
        fail "openssl made no $1" 'nothing was made; is the disk full?'
}

for use in signature encryption; do
    say "making the $use key ..."
    run_openssl genrsa -out "$new/private_$use.pem" 2048
    made "private_$use.pem"
    run_openssl rsa -in "$new/private_$use.pem" -pubout -out "$new/public_$use.pem"
    made "public_$use.pem"
done
say 'making the Diffie-Hellman parameters, which can take some minutes ...'
run_openssl dhparam -out "$new/dhparam.pem" 2048
made dhparam.pem

# Two integers, prime and generator: "    4:d=1  hl=4 l= 257 prim: INTEGER           :D3F1..."
run_openssl asn1parse -in "$new/dhparam.pem" >"$new/text"
prime=$(sed -n '/INTEGER/ { s/.*: *0*//; p; q; }' "$new/text" | tr 'ABCDEF' 'abcdef' | tr -d '\r')
case $prime in
'' | *[!0-9a-f]*) # a minus sign, too
    fail 'the prime could not be read from what openssl asn1parse prints' \
        'nothing was made; is the disk full? otherwise run this again'
    ;;
esac

# Claim the names, each of which fails if the file has come into being meanwhile; then fill them.
trap '' HUP INT QUIT PIPE TERM
for name in $private $public; do
    (set -C && : >"$folder/$name") 2>/dev/null ||
        fail "$folder/$name cannot be made" 'nothing was changed; the disk is full, or another program has made it'
    claimed="$claimed $name"
done
for name in $private $public; do
    mv -f "$new/$name" "$folder/$name" 2>/dev/null ||
        fail "$folder/$name cannot be moved into place" 'nothing was made; is the disk full?'
done
claimed=
clean_up
trap - EXIT HUP INT QUIT PIPE TERM

say ''
say 'upload these three in the self-service portal:'
for name in $public; do say "  $folder/$name"; done
say 'never share these two, and keep a copy of them in a safe place:'
for name in $private; do say "  $folder/$name"; done
say 'dh_prime for config.json:'
printf '%s\n' "$prime"
