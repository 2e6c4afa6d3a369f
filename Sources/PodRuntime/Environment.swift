import JSON
import KubernetesAPI
import NetworkTypes

/// What the environment of a container is made of besides its own spec.
struct EnvironmentSources: Sendable {
    /// `data` (and decoded `binaryData`, where it is text) of the ConfigMaps by name.
    var configMaps: [String: [String: String]] = [:]
    /// Decoded `data` of the Secrets by name.
    var secrets: [String: [String: String]] = [:]
    /// Variables that Services give (`FOO_SERVICE_HOST`).
    var serviceVariables: [(name: String, value: String)] = []
    /// `status.podIP` and the like, by field path.
    var statusFields: [String: String] = [:]
    /// What the image sets.
    var image: [(name: String, value: String)] = []
}

/// A reason why a container cannot be set up as its spec asks.
struct ContainerConfigError: Error, Hashable, CustomStringConvertible {
    /// What kubectl shows as the waiting reason.
    var reason = "CreateContainerConfigError"
    /// The message.
    let description: String

    /// Makes an error.
    init(_ description: String, reason: String = "CreateContainerConfigError") {
        self.description = description
        self.reason = reason
    }
}

/// The environment of containers, by the rules of kubelet: later entries win, `$(NAME)` refers to
/// what is set before it.
enum ContainerEnvironment {
    /// The variables of a container in order, each name once.
    /// - Throws: `ContainerConfigError` naming the ConfigMap, Secret or key that is missing.
    static func make(
        _ container: ContainerSpecification, _ pod: PodSpecification, _ sources: EnvironmentSources
    ) throws -> [(name: String, value: String)] {
        var result = OrderedVariables()
        for (name, value) in sources.image { result[name] = value }
        result["HOSTNAME"] = pod.hostname
        for (name, value) in sources.serviceVariables { result[name] = value }
        for source in container.json["envFrom"]?.array ?? [] {
            let prefix = source["prefix"]?.string ?? ""
            for (name, value) in try map(source, sources).sorted(by: { $0.key < $1.key }) {
                result[prefix + name] = value
            }
        }
        for entry in container.json["env"]?.array ?? [] {
            guard let name = entry["name"]?.string else { continue }
            if let value = entry["value"]?.string {
                result[name] = expand(value) { result[$0] }
            } else if let from = entry["valueFrom"] {
                if let value = try self.value(from, container, pod, sources) {
                    result[name] = value
                }
            } else {
                result[name] = ""
            }
        }
        return result.entries
    }

    /// Replaces `$(NAME)` by the variable; an unknown one stays as it is, `$$` stands for `$`.
    static func expand(_ text: String, _ variable: (String) -> String?) -> String {
        guard text.utf8.contains(UInt8(ascii: "$")) else { return text }
        var result = ""
        var rest = text[...]
        while let dollar = rest.firstIndex(of: "$") {
            result += rest[..<dollar]
            rest = rest[rest.index(after: dollar)...]
            if rest.first == "$" {
                result += "$"
                rest = rest.dropFirst()
            } else if rest.first == "(", let end = rest.firstIndex(of: ")") {
                let name = String(rest[rest.index(after: rest.startIndex)..<end])
                result += variable(name) ?? "$(\(name))"
                rest = rest[rest.index(after: end)...]
            } else {
                result += "$"
            }
        }
        return result + rest
    }

    private static func map(_ source: JSONValue, _ sources: EnvironmentSources) throws
        -> [String: String]
    {
        for (field, kind, maps) in [
            ("configMapRef", "configmap", sources.configMaps),
            ("secretRef", "secret", sources.secrets),
        ] {
            guard let reference = source[field] else { continue }
            let name = reference["name"]?.string ?? ""
            if let found = maps[name] { return found }
            if reference["optional"]?.bool == true { return [:] }
            throw ContainerConfigError("\(kind) \"\(name)\" not found")
        }
        return [:]
    }

    private static func value(
        _ from: JSONValue, _ container: ContainerSpecification, _ pod: PodSpecification,
        _ sources: EnvironmentSources
    ) throws -> String? {
        if let path = from["fieldRef", "fieldPath"]?.string {
            return try DownwardFields.value(path, pod.json, sources.statusFields)
        }
        if let reference = from["resourceFieldRef"] {
            return DownwardFields.resource(reference, pod.json, default: container.name)
        }
        for (field, kind, maps) in [
            ("configMapKeyRef", "configmap", sources.configMaps),
            ("secretKeyRef", "secret", sources.secrets),
        ] {
            guard let reference = from[field] else { continue }
            let name = reference["name"]?.string ?? ""
            let key = reference["key"]?.string ?? ""
            let isOptional = reference["optional"]?.bool ?? false
            if let map = maps[name] {
                if let value = map[key] { return value }
                if isOptional { return nil }
                throw ContainerConfigError(
                    "couldn't find key \(key) in \(kind) \(pod.key.namespace)/\(name)")
            }
            if isOptional { return nil }
            throw ContainerConfigError("\(kind) \"\(name)\" not found")
        }
        return nil
    }
}

/// Variables in the order they were first set.
struct OrderedVariables {
    private(set) var entries: [(name: String, value: String)] = []
    private var positions: [String: Int] = [:]

    /// The value of `name`; nil cannot be set.
    subscript(name: String) -> String? {
        get { positions[name].map { entries[$0].value } }
        set {
            guard let newValue else { return }
            if let position = positions[name] {
                entries[position].value = newValue
            } else {
                positions[name] = entries.count
                entries.append((name, newValue))
            }
        }
    }
}

/// Fields of its own that a pod can hand to its containers.
enum DownwardFields {
    /// The value of a field path such as `metadata.labels['app']`.
    /// - Throws: `ContainerConfigError` for a path that cannot be handed down.
    static func value(_ path: String, _ pod: JSONValue, _ status: [String: String]) throws -> String
    {
        if let value = status[path] { return value }
        for field in ["labels", "annotations"] {
            if path == "metadata.\(field)" {
                let map = pod["metadata", field]?.stringMap ?? [:]
                return map.sorted { $0.key < $1.key }
                    .map { "\($0.key)=\(JSONValue.string($0.value).serializedText)" }
                    .joined(separator: "\n")
            }
            let prefix = "metadata.\(field)['"
            if path.hasPrefix(prefix), path.hasSuffix("']") {
                return pod["metadata", field, String(path.dropFirst(prefix.count).dropLast(2))]?
                    .string ?? ""
            }
        }
        switch path {
        case "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
            "spec.serviceAccountName":
            return pod.value(at: path.split(separator: ".").map(String.init))?.string ?? ""
        case "status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs":
            return ""
        default:
            throw ContainerConfigError("field path \"\(path)\" can't be used in a pod")
        }
    }

    /// The value of a `resourceFieldRef`: limits and requests of a container, divided, rounded up.
    static func resource(_ reference: JSONValue, _ pod: JSONValue, default name: String) -> String {
        let wanted = reference["containerName"]?.string ?? name
        let containers =
            (pod["spec", "containers"]?.array ?? []) + (pod["spec", "initContainers"]?.array ?? [])
        let path = (reference["resource"]?.string ?? "").split(separator: ".").map(String.init)
        let container = containers.first { $0["name"]?.string == wanted }
        let text = path.count == 2 ? quantityText(container?["resources"]?.value(at: path)) : nil
        let divisor = quantityText(reference["divisor"]).flatMap { Quantity($0) }?.thousandths ?? 0
        let scale = divisor == 0 ? 1000 : divisor
        guard let quantity = text.flatMap({ Quantity($0) }) else { return "0" }
        return String((quantity.thousandths + scale - 1) / scale)
    }
}

/// The text of a quantity given as a string or a number.
func quantityText(_ value: JSONValue?) -> String? {
    switch value {
    case .string(let text)?: text
    case .integer(let number)?: String(number)
    case .number(let text)?: text
    default: nil
    }
}

/// The variables that Services give to pods (kubelet's envvars, after Docker's links).
enum ServiceEnvironment {
    /// The variables for the Services of a pod's namespace, and of `kubernetes` in `default`.
    static func variables(
        _ services: [Service], namespace: String, enablesLinks: Bool
    ) -> [(name: String, value: String)] {
        services.filter { service in
            let isAPI = service.key == ObjectKey(namespace: "default", name: "kubernetes")
            return isAPI || (enablesLinks && service.key.namespace == namespace)
        }
        .sorted { $0.key < $1.key }
        .flatMap(variables(of:))
    }

    private static func variables(of service: Service) -> [(name: String, value: String)] {
        let ip = service.clusterIPs.first?.description ?? ""
        guard !ip.isEmpty, let first = service.ports.first else { return [] }
        let prefix = service.metadata.name.uppercased().replacing("-", with: "_")
        let host = ip.contains(":") ? "[\(ip)]" : ip
        var result = [
            (prefix + "_SERVICE_HOST", ip), (prefix + "_SERVICE_PORT", String(first.port)),
        ]
        for port in service.ports where !port.name.isEmpty {
            let name = port.name.uppercased().replacing("-", with: "_")
            result.append(("\(prefix)_SERVICE_PORT_\(name)", String(port.port)))
        }
        func url(_ port: ServicePort) -> String {
            "\(port.transport.rawValue.lowercased())://\(host):\(port.port)"
        }
        result.append((prefix + "_PORT", url(first)))
        for port in service.ports {
            let base = "\(prefix)_PORT_\(port.port)_\(port.transport.rawValue)"
            result += [
                (base, url(port)), (base + "_PROTO", port.transport.rawValue.lowercased()),
                (base + "_PORT", String(port.port)), (base + "_ADDR", ip),
            ]
        }
        return result.map { (name: $0.0, value: $0.1) }
    }
}
