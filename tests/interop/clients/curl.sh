# Usage: curl.sh URL CA_FILE. What curl's cookie jar does with our cookie: prints the statuses, then how many it holds.
set -eu
url=$1 authority=$2
jar=$(mktemp)
trap 'rm -f "$jar"' EXIT
ask() { curl -sS -o /dev/null -w '%{http_code} ' --cacert "$authority" -c "$jar" -b "$jar" "$@"; }

ask "$url/cart"
ask --data alice "$url/login"
ask "$url/cart"
ask -X DELETE -H "Origin: $url" "$url/session"
ask "$url/cart"
grep -c cloakroom "$jar" || true
