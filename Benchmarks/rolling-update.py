#!/usr/bin/env python3
"""Requests lost while a Deployment of 10 pods is replaced under 2,000 requests a second.

A cluster of two nodes; a quarter of the requests each goes to a ClusterIP from a pod, to it from a
node, to a nodePort and to a load balancer's address from the machine, each over a connection of its
own. Prints what failed. Needs root.

    Benchmarks/rolling-update.py .build/release/portolan [REQUESTS-A-SECOND]
"""
import multiprocessing, os, shutil, socket, statistics, sys, time

from standalone import Cluster, LAN, NAME, SERVICES, enter, pod_namespace, service

REPLICAS = 10
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"


def ask(address, port):
    """One request over a connection of its own; None, or what went wrong."""
    with socket.socket() as client:
        client.settimeout(5)
        try:
            client.connect((address, port))
            client.sendall(REQUEST)
            answer = b""
            while chunk := client.recv(4096):
                answer += chunk
        except OSError as error:
            return f"{address}:{port} {error}"
    return None if answer.startswith(b"HTTP/1.1 200") else f"{address}:{port} {answer[:40]!r}"


def load(namespace, address, port, rate, stop, results):
    """Asks at a steady rate until it is stopped; sends the count, the failures, the rate reached."""
    if namespace:
        enter(namespace)
    count, failures, times = 0, [], []
    start = due = time.monotonic()
    while not stop.is_set():
        begun = time.monotonic()
        failure = ask(address, port)
        times.append(time.monotonic() - begun)
        count += 1
        if failure:
            failures.append(failure)
        due += 1 / rate
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
    elapsed = time.monotonic() - start
    results.put((count, failures[:20], len(failures), count / elapsed, statistics.median(times)))


def deployment(generation):
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"generation": str(generation)}},
            "spec": {"containers": [{
                "name": "web", "image": "portolan/hostname",
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}}]}}},
    }


def wait_for_rollout(cluster):
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        object = cluster.request("GET", f"{DEPLOYMENTS}/web")
        status = object.get("status", {})
        if (status.get("observedGeneration") == object["metadata"]["generation"]
                and status.get("updatedReplicas") == REPLICAS
                and status.get("readyReplicas") == REPLICAS
                and status.get("replicas") == REPLICAS):
            return
        time.sleep(0.05)
    raise SystemExit("the Deployment was not rolled out in time")


PODS = "/api/v1/namespaces/default/pods"


def client_namespace(cluster):
    """Runs a pod to ask from; returns its network namespace."""
    cluster.request("POST", PODS, {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
        "spec": {"containers": [{
            "name": "shell", "image": "portolan/shell", "command": ["sleep", "1d"]}]}})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if cluster.request("GET", f"{PODS}/client").get("status", {}).get("phase") == "Running":
            return pod_namespace()
        time.sleep(0.05)
    raise SystemExit("the client's pod does not run")


def addresses(cluster, client):
    """Makes the Services; returns (namespace, address, port) of each way to the pods."""
    cluster.request("POST", "/api/v1/namespaces", {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "metallb-system"}})
    cluster.request("POST", "/api/v1/namespaces/metallb-system/configmaps", {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"},
        "data": {"config": "address-pools:\n- name: default\n  protocol: layer2\n"
                           f"  addresses: [{LAN}.200-{LAN}.210]\n"}})
    cluster.request("POST", SERVICES, service("web-lb", "LoadBalancer"))
    made = cluster.request("POST", SERVICES, service("web", "NodePort"))
    deadline = time.monotonic() + 10
    ingress = None
    while not ingress and time.monotonic() < deadline:
        answer = cluster.request("GET", f"{SERVICES}/web-lb")
        ingress = answer["status"]["loadBalancer"].get("ingress")
    if not ingress:
        raise SystemExit("the load balancer got no address")
    return [
        (client, made["spec"]["clusterIP"], 80),
        (f"{NAME}-node-1", made["spec"]["clusterIP"], 80),
        (None, f"{LAN}.12", made["spec"]["ports"][0]["nodePort"]),
        (None, ingress[0]["ip"], 80),
    ]


def main():
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000
    cluster = Cluster(os.path.abspath(sys.argv[1]))
    try:
        cluster.up()
        cluster.connect()
        client = client_namespace(cluster)
        cluster.request("POST", DEPLOYMENTS, deployment(1))
        targets = addresses(cluster, client)
        wait_for_rollout(cluster)
        for _, address, port in targets[2:]:
            while ask(address, port):
                time.sleep(0.05)
        stop, results = multiprocessing.Event(), multiprocessing.Queue()
        clients = [
            multiprocessing.Process(target=load, args=(*target, rate / len(targets), stop, results))
            for target in targets]
        for client in clients:
            client.start()
        time.sleep(2)
        begun = time.monotonic()
        cluster.request("PUT", f"{DEPLOYMENTS}/web", deployment(2))
        wait_for_rollout(cluster)
        while any(pod["metadata"].get("deletionTimestamp") for pod in cluster.request(
                "GET", "/api/v1/namespaces/default/pods")["items"]):
            time.sleep(0.1)
        seconds = time.monotonic() - begun
        time.sleep(2)
        stop.set()
        found = [results.get(timeout=30) for _ in clients]
        for client in clients:
            client.join()
        failures = sum(entry[2] for entry in found)
        print(f"rolling update of {REPLICAS} pods in {seconds:.1f} s, "
              f"{sum(entry[3] for entry in found):,.0f} requests/s of {rate:,} asked for")
        print(f"{'requests':<58}{sum(entry[0] for entry in found):>9,}")
        print(f"{'failed':<58}{failures:>9}        0")
        for entry in found:
            for text in entry[1]:
                print("   ", text)
    finally:
        cluster.down(purge=True)
        shutil.rmtree(cluster.data, ignore_errors=True)


if __name__ == "__main__":
    main()
