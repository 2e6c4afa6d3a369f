#!/usr/bin/env python3
"""What a Service costs a packet: a client pod asks a server pod through a node, all namespaces of
this machine, by three ways that are taken in turn within each pair:

  service  the cluster IP of one among SERVICES Services, on a node with Portolan's rules
  pod      the server's own address, through the same node with the same rules
  bare     the server's own address, through a node without rules and connection tracking

    Benchmarks/datapath.py PATH-TO-BENCHMARKS [--pairs 30] [--services 10000] [--kube-proxy]

PATH-TO-BENCHMARKS holds ProxyBenchmark and PathBenchmark. With --kube-proxy, kube-proxy's layout
for the same Services takes the place of Portolan's rules. Clients and servers run with real-time priority where that is
allowed, so that other work on the machine does not count. Needs root."""
import argparse
import json
import os
import re
import statistics
import subprocess
import time

PREFIX = f"pathbench{os.getpid() % 1000}-"
REAL_TIME = ["chrt", "-f", "10"]


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True).stdout


def inside(namespace, *words):
    return ["ip", "netns", "exec", PREFIX + namespace, *words]


def link(node, pod, prefix, last):
    """A pod's link to a node: point to point, as Portolan has it."""
    ip = lambda namespace, *words: run("ip", "-n", PREFIX + namespace, *words)
    ip(node, "link", "add", pod, "type", "veth", "peer", "name", node, "netns", PREFIX + pod)
    ip(node, "link", "set", pod, "up")
    ip(pod, "link", "set", node, "up")
    ip(node, "addr", "add", f"{prefix}.1/32", "dev", pod)
    ip(node, "route", "add", f"{prefix}.{last}/32", "dev", pod)
    ip(pod, "addr", "add", f"{prefix}.{last}/32", "dev", node)
    ip(pod, "route", "add", f"{prefix}.1", "dev", node)
    ip(pod, "route", "add", f"{prefix}.0/24", "via", f"{prefix}.1", "dev", node,
       "src", f"{prefix}.{last}")


def build():
    for name in ("client", "server", "node", "bare"):
        run("ip", "netns", "add", PREFIX + name)
        run("ip", "-n", PREFIX + name, "link", "set", "lo", "up")
    for node, prefix in (("node", "10.247.0"), ("bare", "10.247.1")):
        link(node, "client", prefix, 2)
        link(node, "server", prefix, 3)
        run(*inside(node, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
    run("ip", "-n", PREFIX + "client", "route", "add", "10.96.0.0/12", "via", "10.247.0.1",
        "dev", "node", "src", "10.247.0.2")
    for pod in ("client", "server"):
        # Closed connections must not use up the ports within a run.
        run(*inside(pod, "sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=0"))
    run(*inside("client", "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"))


def demolish():
    for name in ("client", "server", "node", "bare"):
        run("ip", "netns", "delete", PREFIX + name, check=False)


def load_kube_proxy(bench, services):
    """Loads kube-proxy's layout; returns the cluster IP of the Service led to the server."""
    text = run(f"{bench}/ProxyBenchmark", "kube-proxy", str(services), "10")
    target = services // 2
    start = text.index(f"chain service-{target} {{")
    end = text.index("}\n}", start)
    chain = re.sub(r"mod 10 map \{.*", "mod 1 map { 0 : 10.247.0.3 . 8081 ", text[start:end])
    subprocess.run(inside("node", "nft", "-f", "-"), check=True, text=True,
                   input=text[:start] + chain + text[end:])
    return re.search(r"ip daddr ([\d.]+)", chain).group(1)


def connections(bench, ways, rotations):
    """Connections a second by each way; all ways in turn, so that noise is shared."""
    run(*inside("node", "conntrack", "-F"), check=False)
    text = run(*inside("client", *REAL_TIME, f"{bench}/PathBenchmark", "client", str(rotations),
                       *ways))
    result = json.loads(text)
    if result["failures"]:
        raise SystemExit(f"{result['failures']} connections failed")
    return result["connectionsPerSecond"]


def wrk(way):
    """Connections a second of another's client."""
    run(*inside("node", "conntrack", "-F"), check=False)
    text = run(*inside("client", *REAL_TIME, "wrk", "-t", "2", "-c", "8", "-d", "1s",
                       "-H", "Connection: close", f"http://{way}/"))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))


def in_turn(ways, count, measure):
    """`count` rounds of all ways; each round begins with another."""
    rounds = []
    for number in range(count):
        order = [(number + turn) % len(ways) for turn in range(len(ways))]
        values = {index: measure(ways[index]) for index in order}
        rounds.append([values[index] for index in range(len(ways))])
    return rounds


def stream(way):
    """Mbit/s of one connection."""
    address, port = way.split(":")
    text = run(*inside("client", *REAL_TIME, "iperf3", "-J", "-c", address, "-p", port,
                       "-t", "1"))
    return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e6


def report(what, pairs, names=("service", "pod", "bare")):
    medians = [statistics.median(pair[index] for pair in pairs) for index in range(len(names))]
    print(f"{what}: " + ", ".join(f"{n} {m:,.0f}" for n, m in zip(names, medians)))
    for left, right in ((0, 1), (0, 2), (1, 2)):
        ratios = sorted(pair[left] / pair[right] for pair in pairs)
        quarter = len(ratios) // 4
        print(f"  {names[left]} / {names[right]}: {statistics.median(ratios):.3f}"
              f"  ({ratios[quarter]:.3f}–{ratios[-quarter - 1]:.3f}, {len(ratios)} pairs)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--services", type=int, default=10000)
    parser.add_argument("--kube-proxy", action="store_true")
    parser.add_argument("--fast-path", default="on", choices=["on", "off"])
    options = parser.parse_args()
    if subprocess.run([*REAL_TIME, "true"]).returncode:
        REAL_TIME.clear()
    servers = []
    demolish()
    try:
        build()
        if options.kube_proxy:
            address = load_kube_proxy(options.bench, options.services)
        else:
            lines = run(*inside("node", f"{options.bench}/ProxyBenchmark", "program",
                                str(options.services), "10", "10.247.0.3:8081",
                                options.fast_path))
            address = lines.split()[-1]
        # Each way has a port of its own, so that no connection is in another's way in conntrack.
        server = inside("server", *REAL_TIME, f"{options.bench}/PathBenchmark", "server",
                        "0.0.0.0:8080", "0.0.0.0:8081")
        servers.append(subprocess.Popen(server))
        ways = [f"{address}:80", "10.247.0.3:8080", "10.247.1.3:8080"]
        time.sleep(0.3)
        connections(options.bench, ways, 2)
        pairs = [connections(options.bench, ways, 10) for _ in range(options.pairs)]
        report("new connections/s", pairs)
        if options.streams:
            report("the same by wrk", in_turn(ways, options.streams, wrk))
        servers.pop().kill()
        for port in ("8080", "8081"):
            servers.append(subprocess.Popen(
                inside("server", *REAL_TIME, "iperf3", "-s", "-p", port),
                stdout=subprocess.DEVNULL))
        time.sleep(0.3)
        if options.streams:
            report("one stream, Mbit/s", in_turn(ways, options.streams, stream))
    finally:
        for server in servers:
            server.kill()
        demolish()


main()
