#!/usr/bin/env python3
"""Figures of the API server: creates, gets, lists, watches, memory, start, kubectl apply.

Starts a release build of `portolan up` with one node and a name and ranges of its own, asks it over
TLS with 16 connections from the same machine, and takes it down. The node's process is halted while
the server is loaded, so that the figures are the server's (and its controllers'). Needs root and wrk.

    Benchmarks/api.py .build/release/portolan
"""
import glob, json, os, re, selectors, shutil, signal, socket, ssl, statistics, subprocess, sys
import tempfile, threading, time

NAME, PORT, CONNECTIONS = "apibench", 16543, 16
SERVICES = "/api/v1/namespaces/default/services"
MAPS = "/api/v1/namespaces/default/configmaps"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
KUBECTL = (sorted(glob.glob("/usr/lib/google-cloud-sdk/bin/kubectl.1.*")) or ["kubectl"])[-1]


class Server:
    def __init__(self, program):
        self.program = program
        self.data = tempfile.mkdtemp(prefix="portolan-api-bench-")
        self.arguments = [
            "--name", NAME, "--data-dir", self.data, "--api-port", str(PORT), "--nodes", "1",
            "--lan-cidr", "172.29.78.0/24", "--service-cluster-ip-range", "10.80.0.0/14",
            "--pod-cidr", "10.87.0.0/16"]

    def up(self):
        """Starts; returns the seconds until the API and until everything is ready."""
        start, first = time.monotonic(), None
        self.process = subprocess.Popen(
            [self.program, "up", *self.arguments], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "API server at" in line:
                first = time.monotonic() - start
            if line.startswith("Portolan is ready"):
                return first, time.monotonic() - start
        raise SystemExit("portolan up ended before it was ready")

    def down(self, purge=False):
        subprocess.run(
            [self.program, "down", "--name", NAME, "--data-dir", self.data]
            + (["--purge"] if purge else []), check=True, stdout=subprocess.DEVNULL)
        self.process.wait()

    def kubectl(self, *arguments, text=None):
        return subprocess.run(
            [KUBECTL, "--kubeconfig", f"{self.data}/admin.kubeconfig", *arguments], input=text,
            check=True, capture_output=True, text=True,
            env={**os.environ, "HOME": self.data}).stdout

    def prepare(self):
        """A token for clients that have no certificates, such as wrk."""
        self.kubectl("create", "serviceaccount", "bench")
        self.kubectl("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin",
                     "--serviceaccount=default:bench")
        self.token = self.kubectl("create", "token", "bench").strip()

    def nodes(self, number):
        for pid in subprocess.run(
                ["pgrep", "-f", f"portolan node .*--cluster-name {NAME} "],
                capture_output=True, text=True).stdout.split():
            os.kill(int(pid), number)

    def memory(self):
        """The proportional set size of the process with the API server, in MiB."""
        text = open(f"/proc/{self.process.pid}/smaps_rollup").read()
        return int(re.search(r"^Pss: +(\d+)", text, re.M)[1]) / 1024

    def processor(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")")[-1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wrk(self, script, seconds, connections=CONNECTIONS):
        """Runs wrk; returns requests a second, megabytes a second, and failed answers."""
        path = f"{self.data}/wrk.lua"
        open(path, "w").write(
            f'wrk.headers["Authorization"] = "Bearer {self.token}"\n'
            'wrk.headers["Content-Type"] = "application/json"\n' + script)
        text = subprocess.run(
            ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", path,
             f"https://127.0.0.1:{PORT}"], check=True, capture_output=True, text=True).stdout
        rate = float(re.search(r"Requests/sec: +([\d.]+)", text)[1])
        amount, unit = re.search(r"Transfer/sec: +([\d.]+)(\w+)", text).groups()
        failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        scale = {"KB": 1024, "MB": 1 << 20, "GB": 1 << 30, "B": 1}[unit]
        return rate, float(amount) * scale / 1e6, int(failed[1]) if failed else 0


class Peer:
    """One connection that sends requests and reads whole answers; no more than is needed."""
    context = ssl._create_unverified_context()

    def __init__(self, server):
        self.token = server.token
        raw = socket.create_connection(("127.0.0.1", PORT))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = self.context.wrap_socket(raw)

    def send(self, method, path, body=b"", kind="application/json"):
        self.socket.sendall((
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)

    def request(self, method, path, body=b"", kind="application/json"):
        self.send(method, path, body, kind)
        return self.response(f"{method} {path}")

    def response(self, what):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.socket.recv(65536)
        head, rest = data.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        while len(rest) < length:
            rest += self.socket.recv(65536)
        if int(head.split()[1]) >= 300:
            raise SystemExit(f"{what}: {rest.decode()}")
        return rest


CREATE = """
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
local count = 0
function request()
  count = count + 1
  local name = "RUN-" .. id .. "-" .. count
  return wrk.format("POST", "%s", nil, '{"apiVersion":"v1","kind":"Service","metadata":{"name":"'
    .. name .. '","labels":{"app":"web"}},"spec":{"ports":[{"port":80,"targetPort":8080}]}}')
end
""" % SERVICES


def fill(server, count, make):
    """Makes `count` objects over several connections."""
    def work(start):
        peer = Peer(server)
        for index in range(start, count, 8):
            for path, body in make(index):
                peer.request("POST", path, json.dumps(body).encode())
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]


def service(index):
    yield SERVICES, {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": f"svc-{index}", "labels": {"app": "web"}},
        "spec": {"ports": [{"port": 80, "targetPort": 8080}]}}


def endpoints(index):
    yield SLICES, {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"svc-{index}-a", "labels": {
            "kubernetes.io/service-name": f"svc-{index}"}},
        "ports": [{"port": 8080}],
        "endpoints": [{
            "addresses": [f"10.87.{(index * 10 + n) >> 8 & 255}.{(index * 10 + n) & 255}"],
            "nodeName": f"{NAME}-node-1", "conditions": {"ready": True}} for n in range(10)]}


def latency(server, rate, seconds):
    """Milliseconds from sending a patch to its watch event, at `rate` writes a second."""
    watcher = Peer(server)
    version = json.loads(Peer(server).request("GET", MAPS + "?limit=1"))["metadata"]["resourceVersion"]
    watcher.send("GET", f"{MAPS}?watch=1&resourceVersion={version}")
    writer = subprocess.Popen(
        [sys.executable, __file__, "--write", server.token, str(rate), str(seconds)])
    found, rest, end = [], b"", time.monotonic() + seconds + 2
    watcher.socket.settimeout(0.5)
    while time.monotonic() < end:
        try:
            data = watcher.socket.recv(1 << 20)
        except TimeoutError:
            continue
        now = time.monotonic_ns()
        rest += data
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if sent := re.search(rb'"sent":"(\d+)"', line):
                found.append((now - int(sent[1])) / 1e6)
    writer.wait()
    found.sort()
    return len(found), found[len(found) // 2], found[int(len(found) * 0.99)]


def alone(server, count):
    """Milliseconds from sending a patch to its watch event, each sent when the one before has been
    answered and seen: what a write costs where nothing else goes on and nothing sleeps."""
    watcher, writer = Peer(server), Peer(server)
    version = json.loads(writer.request("GET", MAPS + "?limit=1"))["metadata"]["resourceVersion"]
    watcher.send("GET", f"{MAPS}?watch=1&resourceVersion={version}")
    found = []
    for _ in range(count):
        start = time.monotonic_ns()
        body = b'{"data":{"sent":"%d"}}' % start
        writer.send("PATCH", f"{MAPS}/clock-0", body, "application/merge-patch+json")
        event, data = b'"sent":"%d"' % start, b""
        while event not in data:
            data += watcher.socket.recv(1 << 20)
        found.append((time.monotonic_ns() - start) / 1e6)
        writer.response("patch")
    found.sort()
    return found[count // 2], found[int(count * 0.99)]


def write(token, rate, seconds):
    """The other process of `latency`: patches that carry the time at which they are sent."""
    count = 1 if rate < 500 else 8
    def work(number):
        peer = Peer(type("", (), {"token": token}))
        start = time.monotonic()
        for index in range(int(rate * seconds / count)):
            due = start + (index + number / count) * count / rate
            time.sleep(max(0, due - time.monotonic()))
            body = b'{"data":{"sent":"%d"}}' % time.monotonic_ns()
            peer.request("PATCH", f"{MAPS}/clock-{number}", body, "application/merge-patch+json")
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    [t.start() for t in threads]
    [t.join() for t in threads]


def watchers(server, count, writes):
    """Opens `count` watches; returns the milliseconds until all have an event, and the server's
    processor time for one."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        peer = Peer(server)
        peer.send("GET", f"{MAPS}?watch=1")
        peer.socket.setblocking(False)
        peer.lines = 0
        selector.register(peer.socket, selectors.EVENT_READ, peer)
    def collect(until, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            for key, _ in selector.select(0.05):
                try:
                    while data := key.fileobj.recv(1 << 16):
                        key.data.lines += data.count(b'"clock-0"')
                except ssl.SSLWantReadError:
                    pass
    collect(lambda: False, 3)
    peers = [key.data for key in selector.get_map().values()]
    writer, times, before = Peer(server), [], server.processor()
    for _ in range(writes):
        for peer in peers:
            peer.lines = 0
        start = time.monotonic()
        writer.request("PATCH", f"{MAPS}/clock-0", b'{"data":{"sent":"%d"}}' % time.monotonic_ns(),
                       "application/merge-patch+json")
        collect(lambda: all(p.lines for p in peers), 10)
        times.append((time.monotonic() - start) * 1000)
    used = (server.processor() - before) * 1000 / writes
    for peer in peers:
        peer.socket.close()
    return statistics.median(times), used


def sync_time(directory):
    descriptor = os.open(f"{directory}/sync", os.O_CREAT | os.O_WRONLY)
    times = []
    for _ in range(200):
        start = time.monotonic()
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)
        times.append((time.monotonic() - start) * 1000)
    os.close(descriptor)
    os.unlink(f"{directory}/sync")
    return statistics.median(times)


def apply(server):
    manifest = "---\n".join(json.dumps(next(service(n))[1]) + "\n" for n in range(200))
    text = manifest.replace("svc-", "applied-")
    times = []
    for _ in range(3):
        start = time.monotonic()
        server.kubectl("apply", "-f", "-", text=text)
        times.append(time.monotonic() - start)
        server.kubectl("delete", "-f", "-", text=text)
    return statistics.median(times)


def row(what, got, wanted=""):
    print(f"{what:58} {got:>20}   {wanted}", flush=True)


def main():
    server = Server(sys.argv[1])
    try:
        server.up()
        server.prepare()
        row("API server", "got", "wanted")
        row("the machine's sync of 4 KiB, median", f"{sync_time(server.data):.2f} ms")
        row("kubectl apply of 200 Services (%s)" % os.path.basename(KUBECTL),
            f"{apply(server):.2f} s", "<= 2 s")
        server.nodes(signal.SIGSTOP)
        rate, _, failed = server.wrk(CREATE.replace("RUN", "first"), 2)
        row("creates of Services, store empty at first", f"{rate:,.0f}/s", ">= 5,000/s")
        assert not failed, f"{failed} creates failed"
        Peer(server).request("DELETE", SERVICES + "?labelSelector=app%3Dweb")
        fill(server, 10_000, service)
        rate, _, failed = server.wrk(CREATE.replace("RUN", "second"), 2)
        row("creates of Services, store of 10,000", f"{rate:,.0f}/s", ">= 5,000/s")
        assert not failed, f"{failed} creates failed"
        rate, _, _ = server.wrk(f'wrk.path = "{SERVICES}/svc-77"', 3)
        row("gets of one Service", f"{rate:,.0f}/s", ">= 20,000/s")
        rate, bandwidth, _ = server.wrk(f'wrk.path = "{SERVICES}"', 5)
        row("lists of all Services", f"{bandwidth:,.0f} MB/s", ">= 100 MB/s")
        fill(server, 10, lambda n: [(MAPS, {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"clock-{n}"}})])
        half, most = alone(server, 2000)
        row("write to watch event, one at a time (2000), p50 / p99",
            f"{half:.2f} / {most:.2f} ms", "p50 <= 1 ms")
        count, half, most = latency(server, 50, 4)
        row(f"write to watch event, 50 writes/s ({count}), p50 / p99",
            f"{half:.2f} / {most:.2f} ms")
        count, half, most = latency(server, 1000, 5)
        row(f"write to watch event, 1,000 writes/s ({count}), p50 / p99",
            f"{half:.2f} / {most:.2f} ms", "p99 <= 5 ms")
        whole, used = watchers(server, 1_000, 20)
        row("1,000 watchers: write until the last has its event", f"{whole:.1f} ms")
        row("1,000 watchers: the server's processor time an event", f"{used:.1f} ms")
        server.nodes(signal.SIGCONT)
        server.down(purge=True)
        server.up()
        server.prepare()
        server.nodes(signal.SIGSTOP)
        fill(server, 10_000, lambda n: [*service(n), *endpoints(n)])
        server.nodes(signal.SIGCONT)
        row("10,000 Services, 100,000 endpoints: PSS after writing", f"{server.memory():.0f} MiB",
            "<= 250 MiB")
        server.down()
        first, whole = server.up()
        row("10,000 x 10: start to API ready", f"{first:.2f} s", "<= 2 s")
        row("10,000 x 10: start to everything ready", f"{whole:.2f} s")
        row("10,000 x 10: PSS after the start", f"{server.memory():.0f} MiB", "<= 250 MiB")
    finally:
        server.nodes(signal.SIGCONT)
        subprocess.run([server.program, "down", "--name", NAME, "--data-dir", server.data,
                        "--purge"], stdout=subprocess.DEVNULL)
        shutil.rmtree(server.data, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    else:
        main()
