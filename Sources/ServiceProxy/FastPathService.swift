import NetworkTypes

/// A cluster IP and port whose connections from pods need nothing but an endpoint chosen at
/// random: no affinity, no masquerading, no reason to refuse. All else is left to the rules.
struct FastPathService: Hashable, Sendable {
    /// The endpoints to choose from.
    var backends: ArraySlice<Backend>

    /// nil where the frontend needs more, or has no endpoint.
    init?(_ frontend: FrontendRules, _ port: PortRules) {
        guard frontend.role == .clusterIP, case .address = frontend.frontend,
            port.port.transport == .tcp, frontend.dispatch.treatment == .cluster,
            frontend.dispatch.affinityTimeoutSeconds == nil, frontend.allowedSources == nil,
            frontend.dispatch.range.count > 0,
            frontend.dispatch.range.count < Int(FastPathLayout.headSlot)
        else { return nil }
        backends = port.slots[frontend.dispatch.range.indexes]
    }
}

/// How a Service of the fast path changes.
struct FastPathChange: Sendable {
    var frontend: Frontend
    var old: FastPathService?
    var new: FastPathService?
}
