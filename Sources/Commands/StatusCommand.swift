import ArgumentParser
import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// `portolan status`: nodes, Services and what is pending, in one screen.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show nodes, Services with their addresses and endpoints, and what is pending.")

    @OptionGroup var identity: IdentityOptions

    @Option(help: "The kubeconfig to use; DATA-DIR/admin.kubeconfig by default.")
    var kubeconfig: String?

    func run() async throws {
        let client = try identity.client(kubeconfig: kubeconfig)
        do {
            try await client.shutDownAfter {
                for line in try await StatusReport.read(from: client).lines { print(line) }
            }
        } catch {
            throw CommandFailure("cannot ask the API server: \(error)")
        }
    }
}

/// What `status` shows: read at once, laid out by a pure function.
struct StatusReport: Sendable {
    var nodes: [Node]
    var pods: [Pod]
    var services: [Service]
    var slices: [EndpointSlice]
    /// The newest warning about each object, by its uid.
    var warnings: [String: String]

    /// Reads everything that is shown.
    static func read(from client: any KubernetesClient) async throws -> StatusReport {
        func list(_ resource: Resource) async throws -> [JSONValue] {
            try await client.list(resource, ListOptions()).items
        }
        async let nodes = list(.nodes)
        async let pods = list(.pods)
        async let services = list(.services)
        async let slices = list(.endpointSlices)
        async let events = list(.events)
        return StatusReport(
            nodes: try await nodes.map(Node.init(json:)),
            pods: try await pods.map(Pod.init(json:)),
            services: try await services.map(Service.init(json:)),
            slices: try await slices.map(EndpointSlice.init(json:)),
            warnings: newestWarnings(try await events))
    }

    private static func newestWarnings(_ events: [JSONValue]) -> [String: String] {
        var newest: [String: (time: String, text: String)] = [:]
        for event in events where event["type"]?.string == "Warning" {
            guard let uid = event["involvedObject", "uid"]?.string else { continue }
            let time = event["lastTimestamp"]?.string ?? event["eventTime"]?.string ?? ""
            let text = "\(event["reason"]?.string ?? ""): \(event["message"]?.string ?? "")"
            if time >= newest[uid]?.time ?? "" { newest[uid] = (time, text) }
        }
        return newest.mapValues(\.text)
    }

    // MARK: - Layout

    /// The report as lines of text.
    var lines: [String] { nodeLines + [""] + serviceLines + pendingLines }

    private var nodeLines: [String] {
        let rows = nodes.sorted { $0.key < $1.key }.map { node in
            [
                node.metadata.name, node.isReady ? "Ready" : "NotReady",
                node.internalAddresses.first.map(\.description) ?? "-",
                node.podCIDRs.first.map(\.description) ?? "-",
                String(pods.count { $0.nodeName == node.metadata.name && !$0.isFinished }),
            ]
        }
        return Self.table(["NODE", "STATUS", "ADDRESS", "POD RANGE", "PODS"], rows)
    }

    private var serviceLines: [String] {
        let rows = services.sorted { $0.key < $1.key }.map { service in
            [
                service.key.description, service.type.rawValue, Self.clusterAddress(service),
                Self.externalAddress(service), Self.ports(service), endpoints(of: service),
            ]
        }
        return Self.table(
            ["SERVICE", "TYPE", "CLUSTER-IP", "EXTERNAL", "PORTS", "ENDPOINTS"], rows)
    }

    private var pendingLines: [String] {
        var found: [String] = []
        for service in services.sorted(by: { $0.key < $1.key })
        where service.type == .loadBalancer && service.ingress.isEmpty {
            let reason = warnings[service.metadata.uid] ?? "waits for an address"
            found.append("  service \(service.key): \(reason)")
        }
        for service in services.sorted(by: { $0.key < $1.key }) {
            guard let warning = warnings[service.metadata.uid],
                warning.hasPrefix("LocalhostPortTaken")
            else { continue }
            found.append("  service \(service.key): \(warning)")
        }
        for pod in pods.sorted(by: { $0.key < $1.key })
        where !pod.isReady && !pod.isFinished && !pod.isTerminating {
            let reason = warnings[pod.metadata.uid] ?? "is \(pod.phase), not ready"
            found.append("  pod \(pod.key): \(reason)")
        }
        for node in nodes.sorted(by: { $0.key < $1.key }) where !node.isReady {
            found.append("  node \(node.metadata.name): not ready")
        }
        return found.isEmpty ? ["", "Nothing is pending."] : ["", "PENDING"] + found
    }

    private func endpoints(of service: Service) -> String {
        let own = slices.filter { $0.serviceKey == service.key }.flatMap(\.endpoints)
        if service.type == .externalName { return "-" }
        let ready = own.count(where: \.isReady)
        return ready == own.count ? "\(ready) ready" : "\(ready) of \(own.count) ready"
    }

    private static func clusterAddress(_ service: Service) -> String {
        if service.isHeadless { return "None" }
        return service.clusterIPs.first.map(\.description) ?? "-"
    }

    private static func externalAddress(_ service: Service) -> String {
        if service.type == .externalName { return service.externalName }
        let texts =
            service.ingress.map { $0.address.map(\.description) ?? $0.hostname }
            + service.externalIPs.map(\.description)
        if texts.isEmpty { return service.type == .loadBalancer ? "<pending>" : "-" }
        return texts.joined(separator: ",")
    }

    private static func ports(_ service: Service) -> String {
        let texts = service.ports.map { port in
            port.nodePort == 0
                ? port.protocolPort.description
                : "\(port.port):\(port.nodePort)/\(port.transport.rawValue)"
        }
        return texts.isEmpty ? "-" : texts.joined(separator: ",")
    }

    /// Columns as wide as their widest cell, three spaces between them, as kubectl prints tables.
    static func table(_ header: [String], _ rows: [[String]]) -> [String] {
        let widths = header.indices.map { column in
            ([header] + rows).map { $0[column].count }.max() ?? 0
        }
        return ([header] + rows).map { row in
            let cells = row.indices.map { column in
                column == row.count - 1 ? row[column] : row[column].padding(to: widths[column])
            }
            return cells.joined(separator: "   ")
        }
    }
}
