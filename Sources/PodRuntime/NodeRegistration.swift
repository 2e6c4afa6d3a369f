import Glibc
import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes

/// Registers the Node object, keeps its conditions and renews its Lease.
struct NodeRegistration: Sendable {
    private let configuration: NodeAgent.Configuration
    private let client: any KubernetesClient
    private let logger: Logger

    /// Seconds between renewals of the Lease, and how long it holds without one.
    static let renewSeconds = 2
    static let leaseSeconds = 8
    /// Renewals between two writes of the node's status (KEP-589 has five minutes).
    static let renewalsPerStatus = 30
    static let leaseNamespace = "kube-node-lease"

    init(
        _ configuration: NodeAgent.Configuration, client: any KubernetesClient, logger: Logger
    ) {
        self.configuration = configuration
        self.client = client
        self.logger = logger
    }

    /// Registers and renews until the task is cancelled.
    func run() async {
        let backoff = Backoff()
        var attempt = 0
        var renewal = 0
        while !Task.isCancelled {
            do {
                if renewal % Self.renewalsPerStatus == 0 { try await register() }
                try await renewLease()
                renewal += 1
                attempt = 0
                try await Task.sleep(for: .seconds(Self.renewSeconds))
            } catch is CancellationError {
                return
            } catch {
                if Task.isCancelled { return }
                attempt += 1
                renewal = 0
                logger.warning("node not registered yet", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: backoff.pause(attempt: min(attempt, 6)))
            }
        }
    }

    // MARK: - Node

    private func register() async throws {
        let name = configuration.nodeName
        var current: JSONValue
        do {
            current = try await client.get(.nodes, namespace: nil, name: name)
            _ = try await client.patch(
                .nodes, namespace: nil, name: name, subresource: nil, type: .merge,
                ["metadata": ["labels": JSONValue(labels)]])
        } catch let error as StatusError where error.isNotFound {
            current = try await create()
        }
        _ = try await client.patch(
            .nodes, namespace: nil, name: name, subresource: "status", type: .merge,
            ["status": status(previous: current["status"] ?? [:], now: .now)])
    }

    private func create() async throws -> JSONValue {
        var spec: JSONValue = [:]
        if let podCIDR = configuration.podCIDR {
            spec["podCIDR"] = .string(podCIDR.description)
            spec["podCIDRs"] = [.string(podCIDR.description)]
        }
        do {
            return try await client.create(
                .nodes,
                [
                    "apiVersion": "v1", "kind": "Node",
                    "metadata": [
                        "name": .string(configuration.nodeName), "labels": JSONValue(labels),
                    ],
                    "spec": spec,
                ])
        } catch let error as StatusError where error.isAlreadyExists {
            return try await client.get(.nodes, namespace: nil, name: configuration.nodeName)
        }
    }

    private var labels: [String: String] {
        configuration.labels.merging([
            "kubernetes.io/hostname": configuration.nodeName, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": MachineFacts.architecture,
        ]) { own, _ in own }
    }

    /// The status of the node; conditions keep the time of their last change.
    func status(previous: JSONValue, now: Timestamp) -> JSONValue {
        let capacity: JSONValue = [
            "cpu": .string(String(MachineFacts.processorCount)),
            "memory": .string("\(MachineFacts.memoryKiB)Ki"), "pods": "110",
            "ephemeral-storage": .string(
                "\(MachineFacts.diskKiB(configuration.dataDirectory))Ki"),
        ]
        return [
            "capacity": capacity, "allocatable": capacity,
            "conditions": .array(conditions(previous, now)),
            "addresses": [
                ["type": "InternalIP", "address": .string(configuration.lanAddress.description)],
                ["type": "Hostname", "address": .string(configuration.nodeName)],
            ],
            "daemonEndpoints": [
                "kubeletEndpoint": ["Port": .integer(Int64(configuration.serverPort))]
            ],
            "nodeInfo": [
                "machineID": .string(trimmed(Files.text("/etc/machine-id") ?? "")),
                "systemUUID": "",
                "bootID": .string(
                    trimmed(Files.text("/proc/sys/kernel/random/boot_id") ?? "")),
                "kernelVersion": .string(
                    trimmed(Files.text("/proc/sys/kernel/osrelease") ?? "")),
                "osImage": .string(MachineFacts.operatingSystem),
                "containerRuntimeVersion": "runc://1.1", "kubeletVersion": "v1.36.0",
                "kubeProxyVersion": "", "operatingSystem": "linux",
                "architecture": .string(MachineFacts.architecture),
            ],
        ]
    }

    private func conditions(_ previous: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let before = previous["conditions"]?.array ?? []
        return [
            ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            (
                "MemoryPressure", "False", "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available"
            ),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (
                "PIDPressure", "False", "KubeletHasSufficientPID",
                "kubelet has sufficient PID available"
            ),
        ].map { type, status, reason, message in
            let old = before.first { $0["type"]?.string == type }
            let isSame = old?["status"]?.string == status
            return [
                "type": .string(type), "status": .string(status), "reason": .string(reason),
                "message": .string(message), "lastHeartbeatTime": .string(now.description),
                "lastTransitionTime": (isSame ? old?["lastTransitionTime"] : nil)
                    ?? .string(now.description),
            ]
        }
    }

    // MARK: - Lease

    private func renewLease() async throws {
        let name = configuration.nodeName
        let now = JSONValue.string(Timestamp.now.microTimeText)
        do {
            _ = try await client.patch(
                .leases, namespace: Self.leaseNamespace, name: name, subresource: nil,
                type: .merge,
                [
                    "spec": [
                        "renewTime": now, "holderIdentity": .string(name),
                        "leaseDurationSeconds": .integer(Int64(Self.leaseSeconds)),
                    ]
                ])
        } catch let error as StatusError where error.isNotFound {
            let node = try await client.get(.nodes, namespace: nil, name: name)
            _ = try await client.create(
                .leases,
                [
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": [
                        "name": .string(name), "namespace": .string(Self.leaseNamespace),
                        "ownerReferences": [
                            [
                                "apiVersion": "v1", "kind": "Node", "name": .string(name),
                                "uid": node["metadata", "uid"] ?? "",
                            ]
                        ],
                    ],
                    "spec": [
                        "holderIdentity": .string(name), "acquireTime": now, "renewTime": now,
                        "leaseDurationSeconds": .integer(Int64(Self.leaseSeconds)),
                    ],
                ])
        }
    }
}

/// What the machine is.
enum MachineFacts {
    /// The name Kubernetes has for the architecture.
    static var architecture: String {
        #if arch(arm64)
            "arm64"
        #else
            "amd64"
        #endif
    }

    static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    static var memoryKiB: Int {
        sysconf(Int32(_SC_PHYS_PAGES)) / 1024 * sysconf(Int32(_SC_PAGESIZE))
    }

    /// The size of the file system that holds `path`.
    static func diskKiB(_ path: String) -> UInt {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else { return 0 }
        return UInt(info.f_blocks) * UInt(info.f_frsize) / 1024
    }

    /// `PRETTY_NAME` of os-release(5).
    static var operatingSystem: String {
        let line = (Files.text("/etc/os-release") ?? "").split(separator: "\n")
            .first { $0.hasPrefix("PRETTY_NAME=") }
        return line.map { String($0.dropFirst(12).replacing("\"", with: "")) } ?? "Linux"
    }
}
