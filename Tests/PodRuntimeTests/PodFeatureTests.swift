import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import TestSupport
import Testing

@testable import PodRuntime

/// What pods can ask for, with real containers.
@Suite(.offPool) struct PodFeatureTests {
    /// A container's whole log, once the pod has ended.
    private func output(_ node: NodeFixture, _ name: String) async throws -> String {
        let pod = try await node.waitFor(name, "ended") { $0.isFinished }
        let path =
            node.configuration.dataDirectory + "/pods/\(pod.metadata.uid)/logs/main/0.log"
        let text = LogLines.last(1000, of: try Files.read(path)).joined()
        #expect(pod.phase == "Succeeded", "\(text)")
        return text
    }

    @Test func volumesAndVariables() async throws {
        try await NodeFixture.run { node in
            _ = try await node.api.create(
                .configMaps,
                [
                    "kind": "ConfigMap", "metadata": ["name": "settings", "namespace": "default"],
                    "data": ["color": "blue", "file.txt": "from a map\n"],
                ])
            _ = try await node.api.create(
                .secrets,
                [
                    "kind": "Secret", "metadata": ["name": "hidden", "namespace": "default"],
                    "data": ["word": .string(Base64.encode(Array("sesame".utf8)))],
                ])
            let script = """
                echo $COLOR $WORD $NAME $IP $HOSTNAME; cat /map/file.txt; cat /secret/w
                cat /info/labels; echo kept > /scratch/x; cat /scratch/x; cat /etc/resolv.conf
                id -u; touch /usr/x 2>/dev/null || echo read-only; touch /tmp/x && echo writable
                ls /root/.ssh /work 2>/dev/null | wc -l; ip -4 -br addr show eth0
                """
            try await node.withAgent {
                try await node.create(
                    "p",
                    spec(
                        ["bash", "-c", script],
                        [
                            "env": [
                                [
                                    "name": "COLOR",
                                    "valueFrom": [
                                        "configMapKeyRef": ["name": "settings", "key": "color"]
                                    ],
                                ],
                                [
                                    "name": "WORD",
                                    "valueFrom": [
                                        "secretKeyRef": ["name": "hidden", "key": "word"]
                                    ],
                                ],
                                [
                                    "name": "NAME",
                                    "valueFrom": ["fieldRef": ["fieldPath": "metadata.name"]],
                                ],
                                [
                                    "name": "IP",
                                    "valueFrom": ["fieldRef": ["fieldPath": "status.podIP"]],
                                ],
                            ],
                            "volumeMounts": [
                                ["name": "map", "mountPath": "/map"],
                                ["name": "secret", "mountPath": "/secret"],
                                ["name": "info", "mountPath": "/info"],
                                ["name": "scratch", "mountPath": "/scratch"],
                            ],
                        ],
                        pod: [
                            "restartPolicy": "Never",
                            "volumes": [
                                ["name": "map", "configMap": ["name": "settings"]],
                                [
                                    "name": "secret",
                                    "secret": [
                                        "secretName": "hidden",
                                        "items": [["key": "word", "path": "w"]],
                                    ],
                                ],
                                [
                                    "name": "info",
                                    "downwardAPI": [
                                        "items": [
                                            [
                                                "path": "labels",
                                                "fieldRef": ["fieldPath": "metadata.namespace"],
                                            ]
                                        ]
                                    ],
                                ],
                                ["name": "scratch", "emptyDir": ["medium": "Memory"]],
                            ],
                        ]))
                let text = try await output(node, "p")
                let address = try await node.pod("p").podIPs.first?.description ?? "none"
                let wanted = [
                    "blue sesame p \(address) p\n", "from a map\nsesame", "default", "kept\n",
                    "nameserver 10.96.0.10\n", "\n0\n", "read-only\n", "writable\n",
                    "\(address)/32",
                ]
                for line in wanted { #expect(text.contains(line), "\(line) in \(text)") }
            }
        }
    }

    private func createProbed(_ node: NodeFixture) async throws {
        try await node.create(
            "gated",
            spec(
                ["sh", "-c", "sleep 1; touch /tmp/ready; sleep 1000"],
                [
                    "readinessProbe": [
                        "exec": ["command": ["test", "-e", "/tmp/ready"]],
                        "periodSeconds": 1,
                    ]
                ]))
        try await node.create(
            "sick",
            spec(
                ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
                [
                    "livenessProbe": [
                        "tcpSocket": ["port": 9], "periodSeconds": 1,
                        "failureThreshold": 1,
                    ]
                ]))
        try await node.create(
            "web",
            spec(
                image: "portolan/hostname", [],
                [
                    "ports": [["name": "http", "containerPort": 80]],
                    "startupProbe": ["httpGet": ["port": "http"], "periodSeconds": 1],
                    "readinessProbe": ["httpGet": ["path": "/x", "port": 80]],
                ]))
    }

    @Test func probesDecide() async throws {
        try await NodeFixture.run { node in
            try await node.withAgent {
                try await createProbed(node)
                try await node.waitFor("gated", "running but not ready") {
                    $0.phase == "Running" && !$0.isReady
                }
                try await node.waitFor("web", "ready") { $0.isReady }
                try await node.waitFor("gated", "ready") { $0.isReady }
                try await node.waitFor("sick", "restarted") {
                    ($0.json["status", "containerStatuses"]?[0]?["restartCount"]?.int ?? 0) > 0
                }
                try await node.waitForEvent("sick", "Unhealthy: Liveness probe failed")
                try await node.waitForEvent("sick", "Killing: Container main failed live")
            }
        }
    }

    @Test func initContainersAndSharedNetwork() async throws {
        try await NodeFixture.run { node in
            try await node.withAgent {
                let setUp: JSONValue = [
                    "name": "set-up", "image": "portolan/shell",
                    "command": ["sh", "-c", "echo prepared > /data/x"],
                    "volumeMounts": [["name": "data", "mountPath": "/data"]],
                ]
                let web: JSONValue = ["name": "web", "image": "portolan/hostname"]
                var pod = spec(
                    [
                        "bash", "-c",
                        "cat /data/x; until curl -s localhost; do sleep 0.1; done; sleep 1000",
                    ],
                    ["volumeMounts": [["name": "data", "mountPath": "/data"]]],
                    pod: [
                        "initContainers": [setUp],
                        "volumes": [["name": "data", "emptyDir": [:]]],
                    ])
                pod["containers"] = .array((pod["containers"]?.array ?? []) + [web])
                try await node.create("pair", pod)
                let ready = try await node.waitFor("pair", "ready") { $0.isReady }
                let path =
                    node.configuration.dataDirectory
                    + "/pods/\(ready.metadata.uid)/logs/main/0.log"
                try eventually("the answer over loopback") {
                    let text = LogLines.last(10, of: try Files.read(path)).joined()
                    return text.hasPrefix("prepared\nHello, I am pair on")
                }
                #expect(
                    ready.json["status", "initContainerStatuses"]?[0]?[
                        "state", "terminated",
                        "reason"]?.string == "Completed")
            }
        }
    }

    @Test func hooksAndGrace() async throws {
        try await NodeFixture.run { node in
            try await node.withAgent {
                // Ignores SIGTERM: it is killed when its grace period is over.
                try await node.create(
                    "stubborn",
                    spec(
                        ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
                        [
                            "lifecycle": [
                                "preStop": ["exec": ["command": ["touch", "/tmp/hook"]]]
                            ]
                        ]))
                try await node.waitFor("stubborn", "ready") { $0.isReady }
                try await node.api.delete(
                    .pods, namespace: "default", name: "stubborn",
                    options: ["gracePeriodSeconds": 2])
                try await node.waitUntilGone("stubborn")
                let hasFailed = try await node.hasEvent("stubborn", "FailedPreStop")
                #expect(!hasFailed)
            }
        }
    }
}
