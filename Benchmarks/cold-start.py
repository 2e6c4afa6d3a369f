#!/usr/bin/env python3
"""How long no DNS answer comes when a node's process dies, and when one starts without the API server.

Starts a cluster of one node with SERVICES Services, and an agent in a network namespace of its own
on the LAN. One asker a process sends a query every millisecond from before the kill until after
the new process answers. `node` and `agent` are killed with SIGKILL and started anew, first with the
API server, then after `portolan up` was killed as well. The moment of the exec is taken before the
program is started, or where the supervisor starts it, when its command line is first seen (looked
for every 0.2 ms). Needs root.

    Benchmarks/cold-start.py .build/release/portolan [SERVICES [ROUNDS]]
"""
import importlib, multiprocessing, os, select, shutil, signal, socket, statistics, struct
import subprocess, sys, time

from standalone import Cluster, LAN, NAME, PORT, enter

memory = importlib.import_module("node-memory")
DNS = "10.89.0.10"
AGENT = f"{NAME}-agent"


def question(number, name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def ask(namespace, name, commands):
    """In `namespace`: a query each millisecond; hands over when good answers came, when asked."""
    enter(namespace)
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setblocking(False)
    moments, number = [], 0
    poller = select.poll()
    for watched in (asker, commands):
        poller.register(watched.fileno(), select.POLLIN)
    due = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= due:
            number += 1
            try:
                asker.sendto(question(number, name), (DNS, 53))
            except OSError:
                pass  # the agent's address is not there yet
            due = max(due + 0.001, now)
        for descriptor, _ in poller.poll(1):
            if descriptor == commands.fileno():
                if commands.recv() == "end":
                    return
                commands.send(moments)
                moments = moments[-1:]
                continue
            try:
                answer = asker.recv(2048)
            except OSError:
                continue
            flags, _, answers = struct.unpack(">3H", answer[2:8])
            if flags & 0xF == 0 and answers > 0:
                moments.append(time.monotonic())


class Asker:
    def __init__(self, namespace, services):
        self.pipe, theirs = multiprocessing.Pipe()
        name = f"service-{services - 1}.default.svc.cluster.local"
        self.process = multiprocessing.Process(target=ask, args=(namespace, name, theirs))
        self.process.start()

    def moments(self):
        self.pipe.send("tell")
        return self.pipe.recv()

    def wait(self, after):
        """Every moment of an answer, once one came after `after`."""
        seen, deadline = [], time.monotonic() + 30
        while time.monotonic() < deadline:
            seen += self.moments()
            if any(moment > after for moment in seen):
                return seen
            time.sleep(0.05)
        raise SystemExit("no answer within 30 s")

    def end(self):
        self.pipe.send("end")
        self.process.join()


def wait_for_exec(parent, old):
    """The moment a child of `parent` other than `old` runs `portolan node`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for task in os.listdir(f"/proc/{parent}/task"):
            try:
                children = open(f"/proc/{parent}/task/{task}/children").read().split()
            except OSError:
                continue
            for child in children:
                if int(child) == old:
                    continue
                try:
                    words = open(f"/proc/{child}/cmdline", "rb").read().split(b"\0")
                except OSError:
                    continue
                if len(words) > 1 and words[1] == b"node":
                    return time.monotonic()
        time.sleep(0.0002)
    raise SystemExit("the node's process was not started again")


def supervised(cluster, asker, rounds):
    """The node's process is killed, `portolan up` starts it again."""
    results = []
    for _ in range(rounds):
        # One that lived less than 10 s is started again after a pause.
        time.sleep(11)
        old = memory.node_process(cluster)
        asker.moments()
        killed = time.monotonic()
        os.kill(old, signal.SIGKILL)
        started = wait_for_exec(cluster.process.pid, old)
        results.append(gap(asker, killed, started))
    return results


def gap(asker, killed, started):
    seen = asker.wait(started)
    last = max((moment for moment in seen if moment <= started), default=killed)
    first = min(moment for moment in seen if moment > started)
    return started - killed, first - started, first - last


def started_here(arguments, asker, rounds, namespace=None, environment=None):
    """A process of ours is killed and at once started again; ends with one that runs."""
    def start():
        moment = time.monotonic()
        return moment, subprocess.Popen(
            arguments, stdout=log, stderr=log, env=environment,
            preexec_fn=namespace and (lambda: enter(namespace)))
    results = []
    with open(os.environ.get("COLD_START_LOG", os.devnull), "ab") as log:
        begun, process = start()
        try:
            asker.wait(begun)
            for _ in range(rounds):
                time.sleep(2)
                asker.moments()
                killed = time.monotonic()
                process.kill()
                process.wait()
                started, process = start()
                results.append(gap(asker, killed, started))
            time.sleep(6)  # what it knows is on disk by then
        finally:
            process.kill()
            process.wait()
    return results


def make_agent_namespace(cluster):
    lan = f"{NAME}-lan"
    for step in [
        f"netns add {AGENT}", f"-n {lan} link add outside type veth peer name eth0 netns {AGENT}",
        f"-n {lan} link set outside master lan0 up", f"-n {AGENT} link set lo up",
        f"-n {AGENT} address add {LAN}.50/24 dev eth0", f"-n {AGENT} link set eth0 up",
        f"-n {AGENT} route add default via {LAN}.1",
    ]:
        subprocess.run(["ip", *step.split()], check=True)
    cluster.request("POST", "/api/v1/nodes", {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "outside"},
        "status": {"addresses": [{"type": "InternalIP", "address": f"{LAN}.50"}]}})
    node = cluster.request("GET", "/api/v1/nodes/outside")
    del node["metadata"]["resourceVersion"]  # controllers write to it as well
    node["status"]["addresses"] = [{"type": "InternalIP", "address": f"{LAN}.50"}]
    cluster.request("PUT", "/api/v1/nodes/outside/status", node)
    text = open(f"{cluster.data}/admin.kubeconfig").read()
    path = f"{cluster.data}/agent.kubeconfig"
    with open(path, "w") as file:
        file.write(text.replace(f"127.0.0.1:{PORT}", f"{LAN}.1:{PORT}"))
    return [cluster.program, "agent", "--node-name", "outside", "--kubeconfig", path,
            "--data-dir", f"{cluster.data}/agent", "--no-load-balancer"]


def row(name, results):
    figures = [[value * 1000 for value in column] for column in zip(*results)]
    cells = [f"{statistics.median(column):8.1f} /{max(column):7.1f}" for column in figures]
    print(f"{name:<36}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main():
    services = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    cluster = Cluster(os.path.abspath(sys.argv[1]), "--nodes", "1")
    askers = []
    try:
        cluster.up()
        cluster.connect()
        memory.fill(cluster, services, 10)
        memory.wait_for_dns(services)
        time.sleep(6)  # the DNS snapshot is written meanwhile
        print(f"{services:,} Services x 10 endpoints; milliseconds, median / largest of {rounds}")
        print(f"{'':<36}{'SIGKILL to exec':>20}{'exec to answer':>20}{'without answer':>20}")
        asker = Asker(f"{NAME}-node-1", services)
        askers.append(asker)
        row("node, started by portolan up", supervised(cluster, asker, rounds))
        agent = make_agent_namespace(cluster)
        agents = Asker(AGENT, services)
        askers.append(agents)
        row("agent", started_here(agent, agents, rounds, AGENT))

        node = memory.node_process(cluster)
        words = open(f"/proc/{node}/cmdline").read().split("\0")[:-1]
        variables = open(f"/proc/{node}/environ").read().split("\0")[:-1]
        environment = dict(variable.split("=", 1) for variable in variables)
        ready = words.index("--ready-descriptor")
        del words[ready:ready + 2]
        cluster.process.kill()
        cluster.process.wait()
        os.kill(node, signal.SIGKILL)
        away = started_here([cluster.program, *words[1:]], asker, rounds, None, environment)
        row("node, no API server", away)
        row("agent, no API server", started_here(agent, agents, rounds, AGENT))
    finally:
        for asker in askers:
            asker.end()
        cluster.down(purge=True)
        subprocess.run(["ip", "netns", "delete", AGENT], stderr=subprocess.DEVNULL)
        shutil.rmtree(cluster.data, ignore_errors=True)


if __name__ == "__main__":
    main()
