#!/bin/sh
# Compares Portolan's DNS with Knot DNS: the same zone of SERVICES Services, the server on
# processor 0, dnsperf on processor 1, ROUNDS rounds in turn. Prints queries a second of wall time,
# and of the server's CPU time, which is the figure that a noisy machine disturbs least.
#
#     Benchmarks/dns.sh PATH-TO-DNSBenchmark [SERVICES] [SECONDS] [ROUNDS]
set -eu
bench=$1 services=${2:-10000} seconds=${3:-5} rounds=${4:-5}
work=$(mktemp -d)
ours=53530 knot=53531
pids=
cleanup() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT INT TERM

"$bench" zone "$services" >"$work/cluster.zone"
"$bench" names "$services" >"$work/names"
mkfifo "$work/stdin"
"$bench" serve "$ours" "$services" --forward "127.0.0.1:$knot" <"$work/stdin" >"$work/ours.log" &
ourpid=$!
pids="$pids $ourpid"
exec 9>"$work/stdin"
cat >"$work/knot.conf" <<CONF
server:
    listen: 127.0.0.1@$knot
    rundir: $work
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: $work
zone:
  - domain: cluster.local
    file: $work/cluster.zone
    zonefile-sync: -1
    semantic-checks: off
  - domain: outside.test
    file: $work/outside.zone
    zonefile-sync: -1
    semantic-checks: off
CONF
awk 'BEGIN {
    print "$ORIGIN outside.test.\n$TTL 3600\n@ SOA ns host 1 7200 1800 86400 30\n@ NS ns\nns A 192.0.2.1"
    for (i = 0; i < 5000; i++) print "host-" i " A 192.0.2.2"
}' >"$work/outside.zone"
awk 'BEGIN { for (i = 0; i < 20000; i++) print "host-" int(rand() * 5000) ".outside.test A" }' \
    >"$work/outside"
taskset -c 0 knotd -c "$work/knot.conf" >"$work/knot.log" 2>&1 &
knotpid=$!
pids="$pids $knotpid"
for port in $ours $knot; do
    tries=0
    until dig @127.0.0.1 -p "$port" +short +time=1 +tries=1 \
        service-1.ns1.svc.cluster.local 2>/dev/null | grep -q 10.96; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || { echo "no answer on port $port"; cat "$work"/*.log; exit 1; }
    done
done
cat "$work/ours.log"

cpu() { awk '{print $14 + $15}' "/proc/$1/stat"; }
run() { # name pid port names
    name=$1 pid=$2 port=$3 names=$4
    before=$(cpu "$pid")
    taskset -c 1 dnsperf -s 127.0.0.1 -p "$port" -d "$names" -l "$seconds" -c 8 -q 200 \
        >"$work/out" 2>&1
    after=$(cpu "$pid")
    completed=$(awk '/Queries completed/ {print $3}' "$work/out")
    rate=$(awk '/Queries per second/ {print $4}' "$work/out")
    lost=$(awk '/Queries lost/ {print $3}' "$work/out")
    latency=$(awk '/Average Latency/ {print $4}' "$work/out")
    echo "$name $completed $((after - before)) $rate $lost $latency" | awk '
        { printf "%-9s %9.0f queries/s, %9.0f a CPU second, lost %s, mean latency %s s\n",
          $1, $4, $2 * 100 / ($3 > 0 ? $3 : 1), $5, $6 }'
}
latency() { # name port rate
    taskset -c 1 dnsperf -s 127.0.0.1 -p "$2" -d "$work/names" -l "$seconds" -c 8 -q 200 -Q "$3" -v \
        2>/dev/null | awk '/^> / { print $NF * 1000000 }' | sort -n >"$work/times"
    awk -v name="$1" -v rate="$3" '{ time[NR] = $1 } END {
        printf "%-9s at %d queries/s: p50 %d µs, p99 %d µs\n",
            name, rate, time[int(NR * 0.5)], time[int(NR * 0.99)] }' "$work/times"
}

round=0
while [ "$round" -lt "$rounds" ]; do
    run portolan "$ourpid" "$ours" "$work/names"
    run knot "$knotpid" "$knot" "$work/names"
    round=$((round + 1))
done
dnsperf -s 127.0.0.1 -p "$ours" -d "$work/outside" -n 1 -q 50 >/dev/null 2>&1
run cached "$ourpid" "$ours" "$work/outside"
half=$(awk -v rate="$rate" 'BEGIN { print int(rate / 2) }')
latency portolan "$ours" "$half"
latency knot "$knot" "$half"
