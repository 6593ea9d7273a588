#!/bin/sh
# generate.sh [FOLDER]: makes what a consumer key of Interactive Brokers (IBKR) needs, two pairs of
# RSA keys and Diffie-Hellman parameters, in FOLDER or beside itself. Stdout has dh_prime alone.
# For any POSIX shell (on Windows: Git Bash) with OpenSSL 1.1 to 4.0 or LibreSSL.

set -eu
umask 077 # private from the first byte

fail() { # ERROR HINT
    rm -rf "$new"
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

refuse_existing() {
    found=
    for name in private_signature private_encryption public_signature public_encryption dhparam; do
        if [ -e "$folder/$name.pem" ]; then found="$found $name.pem"; fi
    done
    [ -z "$found" ] || fail "already in $folder:$found" \
        'nothing was changed, since a key that IBKR knows cannot be made again; name another folder'
}

make() { # FILE COMMAND [ARGUMENT ...]
    file=$1 command=$2
    shift 2
    openssl "$command" -out "$new/$file" "$@" ||
        fail "openssl $command failed" 'nothing was made; see above what openssl says'
    grep -q '^-----END ' "$new/$file" || # not every openssl notices that a disk is full
        fail "openssl did not write all of $file" 'nothing was made; is the disk full?'
}

folder=${1-$(dirname "$0")}
case $folder in -*) folder=./$folder ;; esac # or mkdir, grep and mv take it for an option
new=$folder/.generate.$$ # holds the files until all are complete
[ -d "$folder" ] || fail "no such folder: $folder" 'make it first, with mkdir'
refuse_existing
command -v openssl >/dev/null ||
    fail 'openssl not found' 'install it; on Windows use Git Bash, which brings it along'

trap 'fail interrupted "nothing was made; run this again"' HUP INT PIPE TERM
mkdir "$new" || fail "cannot write to $folder" 'name a folder that you may write to'

for use in signature encryption; do
    make private_$use.pem genrsa 2048 # LibreSSL wants the number last
    make public_$use.pem rsa -in "$new/private_$use.pem" -pubout
done
echo 'making the Diffie-Hellman parameters, which can take some minutes ...' >&2
make dhparam.pem dhparam 2048

# Two numbers, the first is the prime: "    4:d=1  hl=4 l= 257 prim: INTEGER           :D3F1..."
prime=$(openssl asn1parse -in "$new/dhparam.pem" |
    sed -n 's/.*INTEGER *:0*\([0-9A-F]*\).*/\1/p' | head -n 1 | tr A-F a-f)
[ -n "$prime" ] || fail 'openssl asn1parse shows no prime' 'nothing was made; run this again'

refuse_existing # another run may have ended meanwhile
trap '' HUP INT PIPE TERM
mv "$new"/*.pem "$folder" || fail "cannot move the files to $folder" 'see above why'
rmdir "$new"

cat >&2 <<END

upload these three in the self-service portal:
  $folder/public_signature.pem
  $folder/public_encryption.pem
  $folder/dhparam.pem
never share these two, and keep a copy of them in a safe place:
  $folder/private_signature.pem
  $folder/private_encryption.pem
the next line is dh_prime for config.json:
END
echo "$prime"
