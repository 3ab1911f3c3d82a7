#!/bin/sh
# Sends one order to `signalq gateway` with curl; see README.md.
set -eu

USAGE='usage: order-by-gateway.sh [FILE]

Sends one order, a JSON object as in docs/intent.md, from FILE or from standard input, to signalq gateway. Where no
answer comes, or the gateway asks for patience, the same bytes are sent again, for 25 s at most.

environment: GATEWAY_URL  default http://127.0.0.1:8081/trading-signal/webhook
             CURL_CONFIG  a file of further options for curl (see curl --config), such as cacert
exit status: 0 the broker has the order, 1 not, or not known, 2 wrong usage

example: order-by-gateway.sh order.json'

# The gateway knows a repeat for 30 s: whoever sends the same later gives a new order.
SENDING_S=25
ANSWER_S=5
PAUSE_S=${PAUSE_S:-2}

say() { printf 'order-by-gateway.sh: %s\n' "$*" >&2; }

wrong() {
    say "$*; --help tells how to use it."
    exit 2
}

case ${1:-} in
    -h | --help)
        printf '%s\n' "$USAGE"
        exit 0
        ;;
    -?*) wrong "there is no option $1" ;;
esac
command -v curl >/dev/null || wrong "curl is missing"
[ $# -le 1 ] || wrong "it takes one file, not $#"
[ $# -eq 0 ] || [ -r "$1" ] || wrong "$1 can't be read"

# Only for its owner: the order holds the connector's token.
umask 077
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
cat ${1:+"$1"} >"$scratch/order"
[ -s "$scratch/order" ] || wrong "the order is empty"

# What everybody on this machine may read, curl's arguments, holds no secret: the address may have one in its path.
{
    printf 'url = "%s"\n' "${GATEWAY_URL:-http://127.0.0.1:8081/trading-signal/webhook}"
    printf 'data-binary = "@%s"\n' "$scratch/order"
    printf 'header = "Content-Type: application/json"\n'
} >"$scratch/config"

# Prints the status, 000 where there was no answer; what was answered is in $scratch/answer.
send() {
    : >"$scratch/answer"
    curl ${CURL_CONFIG:+--config "$CURL_CONFIG"} --config "$scratch/config" --silent --max-time "$ANSWER_S" \
        --output "$scratch/answer" --write-out '%{http_code}' || true
}

give_up_at=$(($(date +%s) + SENDING_S))
while :; do
    status=$(send)
    case $status$(cat "$scratch/answer") in
        200ok)
            say "the broker has it"
            exit 0
            ;;
        000* | 408* | 429* | 5??*) ;;
        *)
            say "refused with $status: $(cat "$scratch/answer")"
            exit 1
            ;;
    esac
    if [ $(($(date +%s) + PAUSE_S)) -ge "$give_up_at" ]; then
        say "no ok in $SENDING_S s (last: $status). It may have arrived: look with 'signalq orders list' before you send it again."
        exit 1
    fi
    say "answered $status; sending the same again in $PAUSE_S s"
    sleep "$PAUSE_S"
done
