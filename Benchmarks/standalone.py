#!/usr/bin/env python3
"""Figures of a standalone cluster: start, creation to first connection, to address, to ARP, memory.

Starts a release build of `portolan up` with a name and ranges of its own, measures over real
sockets, prints a table of medians, and takes the cluster down. Needs root.

    Benchmarks/standalone.py .build/release/portolan
"""
import ctypes, http.client, json, os, re, select, shutil, socket, ssl, statistics, struct
import subprocess, sys, tempfile, time, base64, multiprocessing

NAME, LAN, PORT = "bench", "172.29.77", 16443
ROUNDS = 40


class Cluster:
    def __init__(self, program, *options):
        self.program = program
        self.data = tempfile.mkdtemp(prefix="portolan-bench-")
        self.arguments = [
            "--name", NAME, "--data-dir", self.data, "--api-port", str(PORT),
            "--lan-cidr", f"{LAN}.0/24", "--service-cluster-ip-range", "10.89.0.0/16",
            "--pod-cidr", "10.88.0.0/16", *options,
        ]

    def up(self):
        """Starts the cluster; returns the seconds to the line that says it is ready."""
        start = time.monotonic()
        self.process = subprocess.Popen(
            [self.program, "up", *self.arguments], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("Portolan is ready"):
                return time.monotonic() - start
        raise SystemExit("portolan up ended before it was ready")

    def down(self, purge=False):
        if hasattr(self, "api"):
            self.api.close()
        subprocess.run(
            [self.program, "down", "--name", NAME, "--data-dir", self.data]
            + (["--purge"] if purge else []), check=True, stdout=subprocess.DEVNULL)
        self.process.wait()

    def connect(self):
        text = open(f"{self.data}/admin.kubeconfig").read()
        def file(key):
            handle = tempfile.NamedTemporaryFile(dir=self.data, delete=False)
            handle.write(base64.b64decode(re.search(rf"{key}: *(\S+)", text)[1].strip('"')))
            handle.close()
            return handle.name
        context = ssl.create_default_context(cafile=file("certificate-authority-data"))
        context.load_cert_chain(file("client-certificate-data"), file("client-key-data"))
        self.api = http.client.HTTPSConnection("127.0.0.1", PORT, context=context)

    def request(self, method, path, body=None):
        self.api.request(
            method, path, json.dumps(body) if body else None,
            {"Content-Type": "application/json"})
        response = self.api.getresponse()
        answer = json.loads(response.read() or b"{}")
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.get('message')}")
        return answer

    def processes(self):
        found = subprocess.run(
            ["pgrep", "-f", f"portolan (up .*--name {NAME} |node .*--cluster-name {NAME} )"],
            capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in found]

    def memory(self):
        """The proportional set size of every process, in MiB."""
        return sum(pss(pid) for pid in self.processes())


def pss(pid):
    """The proportional set size of a process, in MiB."""
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Pss: +(\d+)", text, re.M)[1]) / 1024


def enter(namespace):
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), f"setns {namespace}")


def first_connection(namespace, address, port, answer):
    """In `namespace`: connects in a loop; sends the moment of the first success."""
    enter(namespace)
    answer.send("ready")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as client:
            client.settimeout(0.2)
            try:
                client.connect((address, port))
                answer.send(time.monotonic())
                return
            except OSError:
                continue
    answer.send(None)


def first_announcement(answer):
    """On the LAN's bridge: sends the moment of the first ARP packet from each address of the pool."""
    enter(f"{NAME}-lan")
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    answer.send("ready")
    seen = set()
    while True:
        readable, _, _ = select.select([sniffer, answer], [], [], 60)
        if not readable or answer in readable:
            return
        packet = sniffer.recv(128)
        address = socket.inet_ntoa(packet[28:32])
        if address.startswith("10.1.7.") and address not in seen:
            seen.add(address)
            answer.send((address, time.monotonic()))


def service(name, kind, **fields):
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": "web"}, "ports": [{"port": 80}], **fields},
    }


SERVICES = "/api/v1/namespaces/default/services"


def deploy(cluster):
    cluster.request("POST", "/apis/apps/v1/namespaces/default/deployments", {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "portolan/hostname"}]}}}})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = cluster.request("GET", "/apis/apps/v1/namespaces/default/deployments/web")
        if status.get("status", {}).get("readyReplicas") == 3:
            return
        time.sleep(0.05)
    raise SystemExit("the pods did not become ready")


def pod_namespace():
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout.split()
    return next(name for name in names if name.startswith(f"{NAME}-pod-"))


def measure_connections(cluster):
    namespace = pod_namespace()
    figures = []
    for number in range(ROUNDS):
        address = f"10.89.200.{number + 1}"
        here, there = multiprocessing.Pipe()
        child = multiprocessing.Process(
            target=first_connection, args=(namespace, address, 80, there))
        child.start()
        here.recv()
        cluster.request("POST", SERVICES, service(f"c{number}", "ClusterIP", clusterIP=address))
        created = time.monotonic()
        connected = here.recv()
        child.join()
        if connected is None:
            raise SystemExit(f"no connection through {address}")
        figures.append((connected - created) * 1000)
    return figures


def measure_addresses(cluster):
    for path, body in [
        ("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace",
                                "metadata": {"name": "metallb-system"}}),
        ("/api/v1/namespaces/metallb-system/configmaps", {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"},
            "data": {"config": "address-pools:\n- name: default\n  protocol: layer2\n"
                               "  addresses: [10.1.7.1-10.1.7.200]\n"}}),
    ]:
        cluster.request("POST", path, body)
    here, there = multiprocessing.Pipe()
    sniffer = multiprocessing.Process(target=first_announcement, args=(there,))
    sniffer.start()
    here.recv()
    addresses, announcements = [], []
    for number in range(ROUNDS):
        made = cluster.request("POST", SERVICES, service(f"l{number}", "LoadBalancer"))
        created = time.monotonic()
        version = made["metadata"]["resourceVersion"]
        watch = http.client.HTTPSConnection("127.0.0.1", PORT, context=cluster.api._context)
        watch.request("GET", f"{SERVICES}?watch=1&resourceVersion={version}"
                             f"&fieldSelector=metadata.name%3Dl{number}&timeoutSeconds=10")
        for line in watch.getresponse():
            ingress = json.loads(line)["object"].get("status", {}).get("loadBalancer", {})
            if ingress.get("ingress"):
                addresses.append((time.monotonic() - created) * 1000)
                address = ingress["ingress"][0]["ip"]
                break
        watch.close()
        while here.poll(5):
            found, moment = here.recv()
            if found == address:
                announcements.append((moment - created) * 1000)
                break
    here.send("enough")
    sniffer.join()
    return addresses, announcements


def row(name, figures, unit, target):
    ordered = sorted(figures)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    print(f"{name:<58}{statistics.median(figures):>9.1f}{high:>9.1f}  {unit:<4} {target}")


def main():
    cluster = Cluster(os.path.abspath(sys.argv[1]))
    try:
        starts = []
        for _ in range(5):
            starts.append(cluster.up() * 1000)
            cluster.connect()
            time.sleep(3)  # the memory of an idle cluster is wanted, not that of a starting one
            memory = cluster.memory()
            cluster.down()
        cluster.up()
        cluster.connect()
        deploy(cluster)
        connections = measure_connections(cluster)
        addresses, announcements = measure_addresses(cluster)
        print(f"{'standalone, two nodes':<58}{'median':>9}{'p95':>9}")
        row("portolan up to ready", starts, "ms", "at most 2000")
        row("Service's creation to first connection, from a pod", connections, "ms", "at most 20")
        row("LoadBalancer's creation to its address", addresses, "ms", "at most 20")
        row("LoadBalancer's creation to the first ARP packet", announcements, "ms", "at most 30")
        row("memory of all processes, idle (PSS)", [memory], "MiB", "at most 150")
    finally:
        cluster.down(purge=True)
        shutil.rmtree(cluster.data, ignore_errors=True)


if __name__ == "__main__":
    main()
