#!/usr/bin/env bash
# Follows a stream with curl alone, prints each record's data, and comes back after any break with the last id it saw.
# Ends when the stream was ended.
#
#   examples/curl/follow.sh readings        (RATSVC_HTTP says where the service is)
set -u
stream=${1:?usage: follow.sh STREAM}
url=http://${RATSVC_HTTP:-127.0.0.1:8080}/v1/subscribe
cursor="" retry_ms=2000 newline=$'\n'

while true; do
  id="" event="" data=""
  while IFS= read -r line; do
    case $line in
      "id: "*) id=${line#id: } ;;
      "event: "*) event=${line#event: } ;;
      "data: "*) data+=${line#data: }$newline ;;
      "retry: "*) retry_ms=${line#retry: } ;;
      "status: 204") exit 0 ;;                   # it was ended, and we have all of it
      "status: 429") ;;                          # too many readers now: later
      "status: 4"*) echo "refused ($line)" >&2; exit 1 ;;
      "")                                        # an empty line ends a block
        case $event in
          end) exit 0 ;;
          gap) echo "missing: $data" >&2 ;;
          reconnect) ;;
          *) printf '%s' "$data" ;;
        esac
        [ -z "$id" ] || cursor=$id
        id="" event="" data="" ;;
    esac
  done < <(curl -sNG -H 'Accept: text/event-stream' ${cursor:+-H "Last-Event-ID: $cursor"} \
                --data-urlencode "stream=$stream" -d from=earliest \
                --speed-limit 1 --speed-time 40 -w 'status: %{http_code}\n' "$url")
  echo "reading on from '$cursor'" >&2
  sleep "$((retry_ms / 1000)).$((retry_ms % 1000 / 100))"
done
