import DNS
public import KubernetesAPI
import NetworkTypes

/// Which objects have records, and which records: options of CoreDNS' kubernetes plugin.
public struct RecordRules: Hashable, Sendable {
    /// `namespaces`: the only ones that exist for DNS; nil for all.
    public var namespaces: Set<String>?
    /// `namespace_labels`: what a namespace's labels must be like.
    public var namespaceLabels: LabelSelector?
    /// `labels`: what the labels of a Service, and of a pod with a verified record, must be like.
    public var labels: LabelSelector?
    /// Not `noendpoints`: endpoints have names, and so headless Services have records.
    public var hasEndpoints = true
    /// `endpoint_pod_names`: an endpoint without a host name is called as its pod.
    public var namesEndpointsAfterPods = false
    /// `ignore empty_service`: a ClusterIP Service without a ready endpoint has no name.
    public var ignoresEmptyServices = false

    /// Every object has its records.
    public init() {}

    /// Whether a namespace exists for DNS.
    /// - Parameter labels: those of the namespace; nil where it is not known (yet).
    func exposes(_ namespace: String, labels: [String: String]?) -> Bool {
        if let namespaces { return namespaces.contains(namespace) }
        guard let namespaceLabels else { return true }
        return labels.map(namespaceLabels.matches) ?? false
    }

    /// Whether an object with these labels has records.
    func selects(_ labels: [String: String]) -> Bool {
        self.labels.map { $0.matches(labels) } ?? true
    }

    /// What the zone is told of a Service that is selected, in a namespace that is exposed; nil
    /// where it has no records.
    func input(_ service: Service, _ slices: [EndpointSlice]) -> ServiceRecordInput? {
        guard hasEndpoints || !service.isHeadless else { return nil }
        var input = ServiceRecordInput(
            service, slices: slices, namesEndpointsAfterPods: namesEndpointsAfterPods)
        if ignoresEmptyServices, !input.isHeadless, input.externalName == nil,
            input.readyEndpoints.allSatisfy(\.addresses.isEmpty)
        {
            return nil
        }
        if !hasEndpoints { input.endpoints = [] }
        return input
    }
}
