#!/bin/sh
# Holds a lease while a command runs, with nothing but curl: what `sluice run` does, with less care.
#
#   hold.sh GROUP COMMAND [ARGUMENTS]        SLUICE_URL: http://127.0.0.1:8080
set -eu
url=${SLUICE_URL:-http://127.0.0.1:8080}
group=$1
shift
id="hold-$$-$(date +%s)"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
# Gives up the place, or the permit, whichever it is by now.
trap 'curl -s -X DELETE "$url/v1/groups/$group/requests/$id" >"$answer"; exit 130' INT TERM

# `Prefer: wait` ends a hold with 202 before a balancer cuts it; the same request id finds the same place again.
# In the background, because a shell acts on a signal only between commands, or in `wait`.
while :; do
  curl -s -o "$answer" -w '%{http_code}' -X POST -H 'Prefer: wait=25' \
    "$url/v1/groups/$group/acquire?ttl=5m&lease=30s&request_id=$id" >"$answer.status" &
  wait $! || true
  status=$(cat "$answer.status")
  rm -f "$answer.status"
  [ "$status" = 202 ] || break
done
if [ "$status" != 200 ]; then
  cat "$answer" >&2
  echo >&2
  exit 75
fi
permit=$(sed 's/.*"permit":"\([^"]*\)".*/\1/' "$answer")
trap - INT TERM

(while sleep 10; do curl -sf -o /dev/null -X POST "$url/v1/permits/$permit/renew" || exit; done) >/dev/null 2>&1 </dev/null &
renewing=$!
code=0
SLUICE_PERMIT=$permit "$@" || code=$?
kill $renewing 2>/dev/null || true
curl -s -o /dev/null -X POST -H 'Content-Type: application/json' -d '{"outcome":"used"}' "$url/v1/permits/$permit/release"
exit $code
