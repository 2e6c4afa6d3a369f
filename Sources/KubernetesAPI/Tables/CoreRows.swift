import JSON
import NetworkTypes

/// The rows of kinds of the core group and their like.
enum CoreRows {
    static func namespace(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        [Cells.name(object), Cells.text(object["status", "phase"]), Cells.age(object, now)]
    }

    static func configMap(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let count =
            (object["data"]?.object?.count ?? 0) + (object["binaryData"]?.object?.count ?? 0)
        return [Cells.name(object), .integer(Int64(count)), Cells.age(object, now)]
    }

    static func secret(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        [
            Cells.name(object), Cells.text(object["type"], or: ""),
            .integer(Int64(object["data"]?.object?.count ?? 0)), Cells.age(object, now),
        ]
    }

    static func serviceAccount(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        [
            Cells.name(object), .integer(Int64(object["secrets"]?.array?.count ?? 0)),
            Cells.age(object, now),
        ]
    }

    static func lease(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        [
            Cells.name(object), Cells.text(object["spec", "holderIdentity"], or: ""),
            Cells.age(object, now),
        ]
    }

    static func event(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let first = object["firstTimestamp"] ?? object["eventTime"]
        let last =
            object["series", "lastObservedTime"] ?? object["lastTimestamp"] ?? first
        let involved = object["involvedObject"]
        var target = (involved?["kind"]?.string ?? "").lowercased()
        if let name = involved?["name"]?.string, !name.isEmpty { target += "/" + name }
        let source = object["source", "component"]?.string ?? ""
        let reporter = object["reportingComponent"]?.string ?? ""
        let host = object["source", "host"]?.string ?? ""
        let count =
            object["series", "count"]?.integer ?? object["count"]?.integer ?? 1
        return [
            .string(Cells.since(last, now)), Cells.text(object["type"], or: ""),
            Cells.text(object["reason"], or: ""), .string(target),
            Cells.text(involved?["fieldPath"], or: ""),
            .string((source.isEmpty ? reporter : source) + (host.isEmpty ? "" : ", " + host)),
            .string(trimmed(object["message"]?.string ?? "")), .string(Cells.since(first, now)),
            .integer(max(1, count)), Cells.name(object),
        ]
    }

    // MARK: - Services and endpoints

    static func service(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let spec = object["spec"] ?? [:]
        let type = spec["type"]?.string ?? "ClusterIP"
        let address = spec["clusterIPs"]?[0] ?? spec["clusterIP"]
        let ports = (spec["ports"]?.array ?? []).map { port in
            let nodePort = port["nodePort"]?.int ?? 0
            let middle = nodePort > 0 ? ":\(nodePort)" : ""
            return "\(port["port"]?.int ?? 0)\(middle)/\(port["protocol"]?.string ?? "TCP")"
        }
        return [
            Cells.name(object), .string(type), Cells.text(address),
            .string(externalAddresses(object, type: type)), Cells.list(ports),
            Cells.age(object, now), Cells.labels(spec["selector"]),
        ]
    }

    private static func externalAddresses(_ object: JSONValue, type: String) -> String {
        let external = (object["spec", "externalIPs"]?.array ?? []).compactMap(\.string)
        switch type {
        case "ExternalName": return object["spec", "externalName"]?.string ?? "<none>"
        case "LoadBalancer":
            let ingress = (object["status", "loadBalancer", "ingress"]?.array ?? []).compactMap {
                $0["ip"]?.string ?? $0["hostname"]?.string
            }
            let all = ingress + external
            return all.isEmpty ? "<pending>" : all.joined(separator: ",")
        default: return external.isEmpty ? "<none>" : external.joined(separator: ",")
        }
    }

    static func endpoints(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        var texts: [String] = []
        for subset in object["subsets"]?.array ?? [] {
            let addresses = (subset["addresses"]?.array ?? []).compactMap { $0["ip"]?.string }
            let ports = (subset["ports"]?.array ?? []).compactMap { $0["port"]?.int }
            if ports.isEmpty { texts += addresses }
            for port in ports {
                texts += addresses.map { $0.contains(":") ? "[\($0)]:\(port)" : "\($0):\(port)" }
            }
        }
        return [
            Cells.name(object), .string(shortened(texts, or: "<none>")), Cells.age(object, now),
        ]
    }

    static func endpointSlice(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let ports = (object["ports"]?.array ?? []).map { port in
            port["port"]?.int.map(String.init) ?? "*"
        }
        let addresses = (object["endpoints"]?.array ?? []).flatMap {
            ($0["addresses"]?.array ?? []).compactMap(\.string)
        }
        return [
            Cells.name(object), Cells.text(object["addressType"], or: ""),
            .string(shortened(ports, or: "<unset>")),
            .string(shortened(addresses, or: "<unset>")), Cells.age(object, now),
        ]
    }

    /// The first three, and how many more there are.
    private static func shortened(_ texts: [String], or fallback: String) -> String {
        if texts.isEmpty { return fallback }
        let shown = texts.prefix(3).joined(separator: ",")
        return texts.count > 3 ? "\(shown) + \(texts.count - 3) more..." : shown
    }

    // MARK: - Nodes

    static func node(_ object: JSONValue, _ now: Timestamp) -> [JSONValue] {
        let status = object["status"] ?? [:]
        let ready = (status["conditions"]?.array ?? []).first { $0["type"]?.string == "Ready" }
        var state =
            ready.map { $0["status"]?.string == "True" ? "Ready" : "NotReady" } ?? "Unknown"
        if object["spec", "unschedulable"]?.bool == true { state += ",SchedulingDisabled" }
        let prefix = "node-role.kubernetes.io/"
        let roles = (object["metadata", "labels"]?.object?.keys ?? [])
            .filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }.sorted()
        func address(_ type: String) -> JSONValue {
            let entry = (status["addresses"]?.array ?? []).first { $0["type"]?.string == type }
            return Cells.text(entry?["address"])
        }
        let info = status["nodeInfo"]
        return [
            Cells.name(object), .string(state), Cells.list(roles), Cells.age(object, now),
            Cells.text(info?["kubeletVersion"], or: ""), address("InternalIP"),
            address("ExternalIP"), Cells.text(info?["osImage"], or: "<unknown>"),
            Cells.text(info?["kernelVersion"], or: "<unknown>"),
            Cells.text(info?["containerRuntimeVersion"], or: "<unknown>"),
        ]
    }
}
