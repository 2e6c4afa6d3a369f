#!/usr/bin/env python3
"""Memory of a node's process (proxy, DNS, speaker and pods' agent) among 10,000 Services of 10
endpoints each.

Starts a cluster of one node, fills its API server, waits until the node has all of it in the kernel
and in DNS, and prints the proportional set size. Needs root.

    Benchmarks/node-memory.py .build/release/portolan [SERVICES [ENDPOINTS]]
"""
import http.client, json, os, shutil, sys, threading, time, urllib.request
import subprocess

from standalone import Cluster, LAN, NAME, pss

THREADS = 4


def service(number):
    return {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": f"service-{number}", "labels": {"app": f"app-{number}"}},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def slice_of(number, endpoints):
    def endpoint(index):
        value = number * endpoints + index
        return {
            "addresses": [f"10.{64 + (value >> 16)}.{value >> 8 & 255}.{value & 255}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"worker-node-with-a-usual-name-{value % 100}",
            "zone": f"zone-{value % 3}",
            "targetRef": {"kind": "Pod", "namespace": "default",
                          "name": f"service-{number}-5f6d5ddc8-{index:05d}"},
        }
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": f"service-{number}-abcde",
            "labels": {"kubernetes.io/service-name": f"service-{number}",
                       "endpointslice.kubernetes.io/managed-by": "benchmark"}},
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [endpoint(index) for index in range(endpoints)],
    }


def fill(cluster, services, endpoints):
    """Creates every Service and its slice over a few connections; returns the last revision."""
    revisions, failures = [0] * THREADS, []

    def work(thread):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", cluster.api.port, context=cluster.api._context)
        for number in range(thread, services, THREADS):
            for path, body in [
                ("/api/v1/namespaces/default/services", service(number)),
                ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
                 slice_of(number, endpoints)),
            ]:
                connection.request("POST", path, json.dumps(body),
                                   {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status >= 300:
                    failures.append(answer.get("message"))
                    return
                revisions[thread] = int(answer["metadata"]["resourceVersion"])
        connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(failures[0])
    return max(revisions)


def wait_for(revision):
    """Until the node's kernel has the slices up to a revision."""
    url = (f"http://{LAN}.11:10256/programmed?endpointSlices={revision}"
           "&timeoutMilliseconds=1000")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            continue
    raise SystemExit("the node has not programmed everything in time")


def wait_for_dns(services):
    """Until the node's DNS knows the last Service."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        answer = subprocess.run(
            ["ip", "netns", "exec", f"{NAME}-node-1", "dig", "+short", "+time=1", "+tries=1",
             "@10.89.0.10", f"service-{services - 1}.default.svc.cluster.local"],
            capture_output=True, text=True).stdout
        if answer.startswith("10.89."):
            return
    raise SystemExit("DNS does not know the last Service in time")


def node_process(cluster):
    for pid in cluster.processes():
        if b"node" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[1]:
            return pid
    raise SystemExit("there is no process of the node")


def main():
    services = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    endpoints = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    cluster = Cluster(os.path.abspath(sys.argv[1]), "--nodes", "1")
    try:
        cluster.up()
        cluster.connect()
        idle = pss(node_process(cluster))
        revision = fill(cluster, services, endpoints)
        wait_for(revision)
        wait_for_dns(services)
        time.sleep(8)  # the DNS snapshot is written meanwhile
        followed = pss(node_process(cluster))
        # A process that starts among so many objects lists them, which takes more for a moment.
        before = node_process(cluster)
        os.kill(before, 15)
        while node_process_or(before, cluster) == before:
            time.sleep(0.05)
        wait_for(revision)
        wait_for_dns(services)
        time.sleep(8)
        started = pss(node_process(cluster))
        print(f"{'one node, ' + format(services, ',') + ' Services x ' + str(endpoints):<58}"
              f"{'PSS':>9}")
        for name, value in [("idle, no Services", idle), ("Services created while it ran", followed),
                            ("Services there when it started", started)]:
            target = "" if name.startswith("idle") else "at most 120"
            print(f"{name:<58}{value:>9.1f}  MiB  {target}")
        if os.environ.get("PORTOLAN_BENCH_PAUSE"):
            input(f"process {node_process(cluster)}; Enter ends ")
    finally:
        cluster.down(purge=True)
        shutil.rmtree(cluster.data, ignore_errors=True)


def node_process_or(default, cluster):
    try:
        return node_process(cluster)
    except (SystemExit, OSError):
        return default


if __name__ == "__main__":
    main()
