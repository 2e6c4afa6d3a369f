#!/bin/sh
# Compares the proxy with kube-proxy's layout for the same objects: the time until everything is in
# the kernel (for kube-proxy, `nft -f` alone), and the time of one endpoint's change from the watch
# event to the kernel's acknowledgement. ROUNDS rounds in turn, each in network namespaces of its own,
# with real-time priority where that is allowed, so that other work on the machine does not count.
#
#     Benchmarks/proxy.sh PATH-TO-ProxyBenchmark [ROUNDS] [KUBE-PROXY-SERVICES]
set -eu
bench=$1 rounds=${2:-3} services=${3:-10000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
priority=
if chrt -f 5 true 2>/dev/null; then priority="chrt -f 5"; fi
"$bench" kube-proxy "$services" 10 >"$work/kube-proxy.nft"
for round in $(seq "$rounds"); do
    $priority "$bench" "$services" 10
    $priority "$bench" 50000 5
    start=$(date +%s%3N)
    $priority unshare -n nft -f "$work/kube-proxy.nft"
    echo "{\"layout\":\"kube-proxy\",\"services\":$services,\"endpoints\":10,\"loadMilliseconds\":$(($(date +%s%3N) - start))}"
done
