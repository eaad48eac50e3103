# Before the front's Envoy is told to end: it says unfit, so that nobody new comes, and asks its HTTP/2 callers to leave, each
# with its next answer; then it waits for the calls in flight. Bash alone, since the image has no curl.
set -u
admin_port="${1:-9901}" withdrawn_seconds="${2:-10}" most_seconds="${3:-80}"

admin() {
  exec 3<>"/dev/tcp/127.0.0.1/$admin_port" || return 0
  printf '%s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n' "$1" >&3
  cat <&3
  exec 3>&-
}

admin "POST /healthcheck/fail" >/dev/null
sleep "$withdrawn_seconds" # for this pod to be forgotten by whoever sends calls here
for ((second = 0; second < most_seconds; second++)); do
  admin "GET /stats?filter=^http.front.downstream_rq_active$" | grep -q "downstream_rq_active: [1-9]" || exit 0
  sleep 1
done
