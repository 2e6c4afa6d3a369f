import APIServer
import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// What `status` shows: read at once, laid out by a pure function.
struct StatusReport: Sendable {
    var nodes: [Node]
    var pods: [Pod]
    var services: [Service]
    var slices: [EndpointSlice]
    /// The newest warning about each object, by its uid.
    var warnings: [String: String]
    /// What pods themselves say of why they wait, by uid.
    var waiting: [String: String] = [:]
    /// What is wrong with the cluster as a whole.
    var faults: [String] = []

    /// Reads everything that is shown.
    static func read(from client: any KubernetesClient) async throws -> StatusReport {
        func list(_ resource: Resource) async throws -> [JSONValue] {
            try await client.list(resource, ListOptions()).items
        }
        async let nodes = list(.nodes)
        async let pods = list(.pods)
        async let services = list(.services)
        async let slices = list(.endpointSlices)
        let events = try await list(.events)
        return StatusReport(
            nodes: try await nodes.map(Node.init(json:)),
            pods: try await pods.map(Pod.init(json:)),
            services: try await services.map(Service.init(json:)),
            slices: try await slices.map(EndpointSlice.init(json:)),
            warnings: newestWarnings(events), waiting: waitingReasons(try await pods),
            faults: events.filter { $0["reason"]?.string == APIServer.otherRangesReason }
                .compactMap { $0["message"]?.string })
    }

    /// Why pods wait: what a container's state says (an image that cannot be had), or the
    /// condition PodScheduled (no node fits). Events are older than these, and pass.
    static func waitingReasons(_ pods: [JSONValue]) -> [String: String] {
        var reasons: [String: String] = [:]
        for pod in pods {
            guard let uid = pod["metadata", "uid"]?.string else { continue }
            let states = (pod["status", "containerStatuses"]?.array ?? [])
                .compactMap { $0["state", "waiting"] }
            let unscheduled = (pod["status", "conditions"]?.array ?? []).filter {
                $0["type"]?.string == "PodScheduled" && $0["status"]?.string == "False"
            }
            for said in states + unscheduled where reasons[uid] == nil {
                guard let message = said["message"]?.string, !message.isEmpty else { continue }
                reasons[uid] = "\(said["reason"]?.string ?? "Waiting"): \(message)"
            }
        }
        return reasons
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
        var found = faults.map { "  cluster: \($0)" }
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
            let uid = pod.metadata.uid
            let reason = waiting[uid] ?? warnings[uid] ?? "is \(pod.phase), not ready"
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
