import BPF
import Glibc
import Logging
import Netlink
import NetworkTypes

// Programs at the links that lead to pods.
extension FastPath {
    /// Before those of other projects, which see what pods meant to say otherwise.
    private static let priority: UInt16 = 1

    /// Readable where links, addresses or routes changed.
    var descriptor: Int32 { monitor.descriptor }

    /// Reads what changed of links, and puts programs at those that lead to pods: at once where
    /// nothing changed for a while, else when a little time has passed, so that a stream of changes
    /// (a router's, say) costs a twentieth of a processor at most.
    /// - Returns: when to call again, or nil where only `descriptor` tells.
    func noteLinkChanges(now: UInt64 = monotonicNanoseconds()) throws -> UInt64? {
        // A change is read anew in whole: the events only say that there is one.
        while try !monitor.events().isEmpty { hasLinkChanges = true }
        guard hasLinkChanges else { return nil }
        guard now >= nextRefreshNanoseconds else { return nextRefreshNanoseconds }
        try refreshLinks()
        let end = monotonicNanoseconds()
        nextRefreshNanoseconds = end + max(20_000_000, (end - min(now, end)) * 20)
        return nil
    }

    /// Puts programs at the links that lead to pods, and knows the pods.
    func refreshLinks(isAudit: Bool = false) throws {
        hasLinkChanges = false
        let found = PodLinks(
            links: try routes.links(), addresses: try routes.addresses(),
            routes: try families.flatMap { try routes.routes($0.layout.family) })
        var attached = found
        for (index, number) in found.links {
            if isAudit || present.links[index] != number || present.links.isEmpty {
                do { try attach(index, number) } catch let error as NetlinkError {
                    // Gone between the reading and now, most of the time: the next event tells.
                    logger.log(
                        level: error.errorNumber == ENODEV ? .debug : .warning,
                        "a pod's link cannot have the fast path",
                        metadata: ["link": "\(index)", "error": "\(error)"])
                    attached.links[index] = nil
                    attached.pods = attached.pods.filter { $0.value != index }
                }
            }
        }
        let gone = present.links.keys.filter { found.links[$0] == nil }
        for index in gone {
            try links.remove(Self.key(index))
            _ = try routes.attempt(
                Classifier.Direction.allCases.map { .deleteClassifier(classifier(index, $0)) })
        }
        try set(pods: attached.pods)
        let haveMoved = present.pods.contains { attached.pods[$0.key] != $0.value }
        present = attached
        knowsLinks = true
        statistics.linkCount = attached.links.count
        if !gone.isEmpty || haveMoved { try sweep(now: monotonicNanoseconds()) }
    }

    private func classifier(_ index: Int32, _ direction: Classifier.Direction) -> Classifier {
        Classifier(linkIndex: index, direction, priority: Self.priority, name: name)
    }

    /// Answers must be known before questions are sent: the way to the pod first.
    private func attach(_ index: Int32, _ namespaceNumber: Int32) throws {
        let number = withUnsafeBytes(of: namespaceNumber, Array.init)
        try links.set(Self.key(index), number)
        // There is one already where this, or another, has been here before.
        _ = try routes.attempt([.addClassifierHook(linkIndex: index)])
        for direction in [Classifier.Direction.egress, .ingress] {
            guard let program = programs[direction] else { continue }
            try routes.perform(
                .setClassifier(classifier(index, direction), program: program.descriptor))
        }
    }

    private func set(pods: [IPAddress: Int32]) throws {
        for maps in families {
            let wanted = Dictionary(
                uniqueKeysWithValues: pods.filter { $0.key.family == maps.layout.family }.map {
                    ($0.key.networkBytes, Self.key($0.value))
                })
            let there = try maps.pods.entries()
            for key in there.keys where wanted[key] == nil { try maps.pods.remove(key) }
            for (key, value) in wanted where there[key] != value {
                try maps.pods.set(key, value)
            }
        }
    }

    private static func key(_ index: Int32) -> [UInt8] { withUnsafeBytes(of: index, Array.init) }
}
