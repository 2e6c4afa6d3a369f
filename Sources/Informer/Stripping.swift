import KubernetesAPI
import Synchronization

/// Texts that many objects have in common (names of nodes, zones and namespaces), each kept once.
final class SharedTexts: Sendable {
    private let texts = Mutex<Set<String>>([])

    /// Beyond this many it begins anew: a cluster has some thousands of nodes and namespaces.
    private static let limit = 65_536

    /// The same text, sharing its storage with equal ones before it.
    func shared(_ text: String) -> String {
        // Texts up to 15 bytes have no storage.
        guard text.utf8.count > 15 else { return text }
        return texts.withLock { texts in
            if texts.count >= Self.limit { texts = [] }
            return texts.insert(text).memberAfterInsert
        }
    }
}

extension Service {
    private static let proxyNameLabel = "service.kubernetes.io/service-proxy-name"
    private static let sourceRangesAnnotation =
        "service.beta.kubernetes.io/load-balancer-source-ranges"

    /// Takes away what neither proxy nor DNS nor speaker reads. A load balancer keeps its labels,
    /// which advertisements select by, and its uid, which its events name.
    mutating func strip(sharing texts: SharedTexts) {
        metadata.namespace = texts.shared(metadata.namespace)
        metadata.keepAnnotation(Self.sourceRangesAnnotation)
        guard type != .loadBalancer else { return }
        metadata.keepLabels([Self.proxyNameLabel])
        metadata.uid = ""
    }
}

extension EndpointSlice {
    private static let serviceNameLabel = "kubernetes.io/service-name"
    private static let headlessLabel = "service.kubernetes.io/headless"
    private static let triggerAnnotation = "endpoints.kubernetes.io/last-change-trigger-time"

    /// Takes away what neither proxy nor DNS nor speaker reads.
    mutating func strip(sharing texts: SharedTexts) {
        metadata.namespace = texts.shared(metadata.namespace)
        metadata.uid = ""
        metadata.creationTimestamp = ""
        metadata.keepLabels([Self.serviceNameLabel, Self.headlessLabel])
        metadata.keepAnnotation(Self.triggerAnnotation)
        for index in endpoints.indices {
            endpoints[index].targetPod = nil
            endpoints[index].nodeName = endpoints[index].nodeName.map(texts.shared)
            endpoints[index].zone = endpoints[index].zone.map(texts.shared)
            if !endpoints[index].zoneHints.isEmpty {
                endpoints[index].zoneHints = endpoints[index].zoneHints.map(texts.shared)
            }
        }
    }
}

extension ObjectMeta {
    /// Drops all labels but those named. The names are the program's own texts, so that they take
    /// no memory.
    fileprivate mutating func keepLabels(_ names: [String]) {
        guard !labels.isEmpty else { return }
        var kept: [String: String] = [:]
        for name in names { kept[name] = labels[name] }
        labels = kept
    }

    /// Drops all annotations but one.
    fileprivate mutating func keepAnnotation(_ name: String) {
        guard !annotations.isEmpty else { return }
        annotations = annotations[name].map { [name: $0] } ?? [:]
    }
}
