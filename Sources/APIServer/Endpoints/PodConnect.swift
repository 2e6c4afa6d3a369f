import JSON
import KubernetesAPI
import Store

/// The paths of a node's server for a pod's exec, attach, port-forward and log, made of what the
/// client asked for.
struct PodConnect: Sendable {
    let pod: JSONValue
    let namespace: String
    let name: String

    /// - Throws: 400 for a pod that no node has.
    func node() throws -> String {
        guard let node = pod["spec", "nodeName"]?.string, !node.isEmpty else {
            throw StatusError.badRequest("pod \(name) does not have a host assigned")
        }
        return node
    }

    func exec(_ query: QueryItems) throws -> String {
        var items = query.items.filter { $0.name == "command" }
        items += Self.streams(query)
        return try path("exec", container: container(query), QueryItems(items))
    }

    func attach(_ query: QueryItems) throws -> String {
        try path("attach", container: container(query), QueryItems(Self.streams(query)))
    }

    /// To be followed by the number of a port.
    var portForward: String { "/portForward/\(namespace)/\(name)?port=" }

    func log(_ query: QueryItems) throws -> String {
        let known = [
            "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines",
            "limitBytes", "stream",
        ]
        let items = query.items.filter { known.contains($0.name) }
        return try path("containerLogs", container: container(query), QueryItems(items))
    }

    private static func streams(_ query: QueryItems) -> [QueryItems.Item] {
        [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
            .filter { query.flag($0.0) }
            .map { QueryItems.Item(name: $0.1, value: "1") }
    }

    private func path(_ verb: String, container: String, _ query: QueryItems) -> String {
        let text = query.encoded
        return "/\(verb)/\(namespace)/\(name)/\(container)" + (text.isEmpty ? "" : "?\(text)")
    }

    /// The container named, or the only one, or the one that the pod's annotation names.
    private func container(_ query: QueryItems) throws -> String {
        func names(_ field: String) -> [String] {
            (pod["spec", field]?.array ?? []).compactMap { $0["name"]?.string }
        }
        let (main, initial) = (names("containers"), names("initContainers"))
        let asked = query["container"] ?? ""
        if !asked.isEmpty {
            guard (main + initial + names("ephemeralContainers")).contains(asked) else {
                throw StatusError.badRequest(
                    "container \(asked) is not valid for pod \(name)")
            }
            return asked
        }
        let annotated = pod["metadata", "annotations"]?.stringMap[
            "kubectl.kubernetes.io/default-container"]
        if let annotated, main.contains(annotated) { return annotated }
        if main.count == 1 { return main[0] }
        let others =
            initial.isEmpty
            ? "" : " or one of the init containers: [\(initial.joined(separator: " "))]"
        throw StatusError.badRequest(
            "a container name must be specified for pod \(name), choose one of: "
                + "[\(main.joined(separator: " "))]" + others)
    }
}
