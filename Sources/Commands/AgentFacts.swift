import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes

/// What an agent has to know of its cluster before it can begin. It is kept on disk: a process that
/// starts anew goes on with it at once, whether the API server is there or not, and asks afterwards.
struct AgentFacts: Hashable, Sendable {
    var address: IPAddress
    var serviceCIDRs: [Prefix]
    /// nil where the agent answers no DNS.
    var clusterDNS: IPAddress?

    /// Takes what the command line says, and asks for the rest until it is there.
    /// - Throws: `CommandFailure` where the API server's answer makes it impossible to begin.
    static func gather(
        _ command: AgentCommand, nodeName: String, client: any KubernetesClient, logger: Logger
    ) async throws -> AgentFacts {
        let backoff = Backoff()
        var attempt = 0
        while true {
            do {
                let facts = try await ask(command, nodeName: nodeName, client: client)
                try facts.write(command)
                return facts
            } catch let failure as CommandFailure {
                throw failure
            } catch let error as StatusError where error.code == 401 || error.code == 403 {
                throw CommandFailure(
                    "the API server refuses the agent: \(error.message); apply the roles of "
                        + "packaging/portolan-agent.yaml")
            } catch {
                attempt += 1
                logger.warning("waiting for the API server", metadata: ["error": "\(error)"])
                try await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
    }

    /// What was kept, with what the command line says now; nil where that is not enough, or is of
    /// another address than this machine has now.
    static func kept(_ command: AgentCommand) -> AgentFacts? {
        guard let facts = read(path(command), command),
            (try? LocalAddresses.link(of: facts.address)) != nil
        else { return nil }
        return facts
    }

    /// Asks until the API server has said whether what the agent goes on with is still so. What is
    /// refused, or not there any more, is a warning: the node's Services go on meanwhile.
    /// - Throws: `CommandFailure` where it is not: the next start has what is so now.
    func confirm(
        _ command: AgentCommand, nodeName: String, client: any KubernetesClient, logger: Logger
    ) async throws {
        let backoff = Backoff()
        var attempt = 0
        while true {
            do {
                let facts = try await Self.ask(command, nodeName: nodeName, client: client)
                guard facts != self else { return }
                try facts.write(command)
                throw Changed(was: self, is: facts)
            } catch let change as Changed {
                throw CommandFailure(
                    "the cluster is not as it was: \(change.was.json.serializedText) is now "
                        + "\(change.is.json.serializedText); start again")
            } catch {
                attempt += 1
                logger.warning(
                    "going on with what was known of the cluster",
                    metadata: ["error": "\(error)"])
                try await Task.sleep(for: backoff.pause(attempt: attempt))
            }
        }
    }

    private struct Changed: Error {
        let was: AgentFacts
        let `is`: AgentFacts
    }

    private static func ask(
        _ command: AgentCommand, nodeName: String, client: any KubernetesClient
    ) async throws -> AgentFacts {
        var facts = AgentFacts(
            address: .v4(0), serviceCIDRs: command.serviceClusterIpRange, clusterDNS: nil)
        if let address = command.address {
            facts.address = address
        } else {
            facts.address = try await nodeAddress(nodeName, client)
        }
        if facts.serviceCIDRs.isEmpty { facts.serviceCIDRs = try await serviceCIDRs(client) }
        if command.dns {
            if let address = command.clusterDns {
                facts.clusterDNS = address
            } else {
                facts.clusterDNS = try await dnsAddress(client)
            }
        }
        return facts
    }

    private static func nodeAddress(
        _ name: String, _ client: any KubernetesClient
    ) async throws -> IPAddress {
        let json: JSONValue
        do {
            json = try await client.get(.nodes, namespace: nil, name: name)
        } catch let error as StatusError where error.isNotFound {
            throw CommandFailure(
                "there is no Node \"\(name)\": give the name that kubectl get nodes shows "
                    + "(--node-name, or NODE_NAME)")
        }
        let addresses = try Node(json: json).internalAddresses
        guard let address = addresses.first(where: { $0.family == .ipv4 }) ?? addresses.first else {
            throw CommandFailure(
                "Node \"\(name)\" has no address of type InternalIP: give --address")
        }
        return address
    }

    /// The ranges of the ServiceCIDR objects (networking.k8s.io/v1, since 1.33); none where the
    /// server has no such kind.
    private static func serviceCIDRs(_ client: any KubernetesClient) async throws -> [Prefix] {
        let resource = Resource(
            group: "networking.k8s.io", version: "v1", plural: "servicecidrs", kind: "ServiceCIDR",
            isNamespaced: false)
        do {
            return try await client.list(resource, ListOptions()).items
                .flatMap { $0["spec", "cidrs"]?.array ?? [] }
                .compactMap { $0.string.flatMap { Prefix($0) } }
        } catch let error as StatusError where error.isNotFound {
            return []
        }
    }

    private static func dnsAddress(_ client: any KubernetesClient) async throws -> IPAddress {
        do {
            let json = try await client.get(
                .services, namespace: "kube-system", name: "kube-dns")
            if let address = try Service(json: json).clusterIPs.first { return address }
        } catch let error as StatusError where error.isNotFound {
            // Said below.
        }
        throw CommandFailure(
            "the cluster has no Service kube-system/kube-dns with a ClusterIP: create one, give "
                + "--cluster-dns, or --no-dns")
    }

    // MARK: - On disk

    private static func path(_ command: AgentCommand) -> String { "\(command.dataDir)/agent.json" }

    private func write(_ command: AgentCommand) throws {
        try FileSystem.writePrivate(Self.path(command), Array(json.serializedText.utf8))
    }

    private var json: JSONValue {
        var json: JSONValue = [
            "address": .string("\(address)"),
            "serviceCIDRs": .array(serviceCIDRs.map { .string("\($0)") }),
        ]
        json["clusterDNS"] = clusterDNS.map { .string("\($0)") }
        return json
    }

    private static func read(_ path: String, _ command: AgentCommand) -> AgentFacts? {
        guard let bytes = FileSystem.read(path), let json = try? JSONValue(parsing: bytes),
            let address = command.address ?? json["address"]?.string.flatMap({ IPAddress($0) })
        else { return nil }
        let dns = command.clusterDns ?? json["clusterDNS"]?.string.flatMap { IPAddress($0) }
        if command.dns, dns == nil { return nil }
        let kept = (json["serviceCIDRs"]?.array ?? []).compactMap {
            $0.string.flatMap { Prefix($0) }
        }
        return AgentFacts(
            address: address,
            serviceCIDRs: command.serviceClusterIpRange.isEmpty
                ? kept : command.serviceClusterIpRange,
            clusterDNS: command.dns ? dns : nil)
    }
}
