#!/bin/sh
# Publishes one order by the HTTP API of RabbitMQ's management plugin, with curl; see README.md, also for the caveats.
set -eu

USAGE='usage: order-by-broker.sh CONNECTOR [FILE]

Publishes one order, a JSON object as in docs/intent.md, from FILE or from standard input. CONNECTOR is its
connectorName. Where no answer comes, the same message is published again under the same message_id, for 30 s at most.

environment: CURL_CONFIG    a file of options for curl with the name and password: user = "NAME:PASSWORD"
             BROKER_API     default http://127.0.0.1:15672/api
             BROKER_VHOST   default %2F (the virtual host /), percent-encoded
             BROKER_PREFIX  default signalq
             STRATEGY       whose order it is
             BROKER_USER    the name that curl logs in with: only needed where strategies are known by their user
             MESSAGE_ID     to repeat an order of which no more is known; default: a new one
exit status: 0 the broker has the order, 1 not, or not known, 2 wrong usage

example: CURL_CONFIG=~/.config/signalq/broker.curl order-by-broker.sh main order.json'

SENDING_S=30
ANSWER_S=10
PAUSE_S=${PAUSE_S:-2}

say() { printf 'order-by-broker.sh: %s\n' "$*" >&2; }

wrong() {
    say "$*; --help tells how to use it."
    exit 2
}

case ${1:-} in
    -h | --help)
        printf '%s\n' "$USAGE"
        exit 0
        ;;
    '') wrong "the connector is missing" ;;
    -?*) wrong "there is no option $1" ;;
esac
[ $# -le 2 ] || wrong "it takes a connector and one file"
[ $# -eq 1 ] || [ -r "$2" ] || wrong "$2 can't be read"
[ -r "${CURL_CONFIG:-}" ] || wrong "CURL_CONFIG must name a file with the user and password"
command -v curl >/dev/null || wrong "curl is missing"
case $1${STRATEGY:-}${BROKER_USER:-}${MESSAGE_ID:-} in
    *[\"\\]* | *[[:cntrl:]]*) wrong "names with quotes, backslashes or control characters are not for this script" ;;
esac

# Only for its owner: the order holds the connector's token.
umask 077
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
cat ${2:+"$2"} >"$scratch/order"
[ -s "$scratch/order" ] || wrong "the order is empty"

# Made once: with these a second message is a duplicate, whenever it comes.
id=${MESSAGE_ID:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
created_s=$(date +%s)
{
    printf '{"routing_key":"%s","payload_encoding":"base64","payload":"' "$1"
    base64 <"$scratch/order" | tr -d '\n'
    printf '","properties":{"delivery_mode":2,"content_type":"application/json","message_id":"%s"' "$id"
    [ -z "${STRATEGY:-}" ] || printf ',"app_id":"%s"' "$STRATEGY"
    [ -z "${BROKER_USER:-}" ] || printf ',"user_id":"%s"' "$BROKER_USER"
    printf ',"headers":{"signalq-created-ms":%s000}}}' "$created_s"
} >"$scratch/message"

url=${BROKER_API:-http://127.0.0.1:15672/api}/exchanges/${BROKER_VHOST:-%2F}/${BROKER_PREFIX:-signalq}.orders/publish

# Prints the status, 000 where there was no answer; what was answered is in $scratch/answer.
send() {
    : >"$scratch/answer"
    curl --config "$CURL_CONFIG" --silent --max-time "$ANSWER_S" --header 'Content-Type: application/json' \
        --data-binary "@$scratch/message" --output "$scratch/answer" --write-out '%{http_code}' "$url" || true
}

give_up_at=$((created_s + SENDING_S))
while :; do
    status=$(send)
    case $status$(cat "$scratch/answer") in
        '200{"routed":true}')
            say "the broker has it: $id"
            exit 0
            ;;
        '200{"routed":false}')
            say "no queue takes it: 'signalq topology apply' makes them."
            exit 1
            ;;
        000* | 408* | 429* | 5??*) ;;
        # A queue that is full or without a leader, and RabbitMQ's own confirm that did not come.
        400*'"rejected '* | 400*'"confirm_timeout '*) ;;
        404* | 400*'"404 NOT_FOUND '*)
            say "there is no exchange ${BROKER_PREFIX:-signalq}.orders there: 'signalq topology apply' makes it."
            exit 1
            ;;
        *)
            say "refused with $status: $(cat "$scratch/answer")"
            exit 1
            ;;
    esac
    if [ $(($(date +%s) + PAUSE_S)) -ge "$give_up_at" ]; then
        say "no answer in $SENDING_S s (last: $status). It may have arrived: 'signalq orders show $id' knows; or repeat it with MESSAGE_ID=$id."
        exit 1
    fi
    say "answered $status; publishing the same again in $PAUSE_S s"
    sleep "$PAUSE_S"
done
