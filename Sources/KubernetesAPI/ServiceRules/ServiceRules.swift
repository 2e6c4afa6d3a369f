public import JSON

/// What happens to a Service before it is validated: defaults, what a PUT inherits, and what a
/// change of type clears. Pure; addresses and ports are the allocator's work.
public enum ServiceRules {
    /// Sets the defaults that depend on the type (the rest stands in the schema).
    static func applyDefaults(_ object: inout JSONValue) {
        guard var spec = object["spec"], spec.object != nil else { return }
        if spec["sessionAffinity"] == "ClientIP" {
            if spec["sessionAffinityConfig", "clientIP", "timeoutSeconds"] == nil {
                spec["sessionAffinityConfig", "clientIP", "timeoutSeconds"] = 10800
            }
        } else if spec["sessionAffinity"] == "None" {
            spec["sessionAffinityConfig"] = nil
        }
        if let ports = spec["ports"]?.array { spec["ports"] = .array(ports.map(portDefaults)) }
        let type = spec["type"]?.string
        if isExternal(spec), isEmpty(spec["externalTrafficPolicy"]) {
            spec["externalTrafficPolicy"] = "Cluster"
        }
        if type != "ExternalName", isEmpty(spec["internalTrafficPolicy"]) {
            spec["internalTrafficPolicy"] = "Cluster"
        }
        if type == "LoadBalancer", spec["allocateLoadBalancerNodePorts"] == nil {
            spec["allocateLoadBalancerNodePorts"] = true
        }
        for key in ["healthCheckNodePort"] where spec[key] == 0 { spec[key] = nil }
        for key in emptyMeansAbsent where spec[key] == "" { spec[key] = nil }
        object["spec"] = spec
        if let ingress = object["status", "loadBalancer", "ingress"]?.array {
            object["status", "loadBalancer", "ingress"] = .array(ingress.map(ingressDefaults))
        }
    }

    /// Go drops these when they are empty, so that clients may send them so.
    private static let emptyMeansAbsent = [
        "clusterIP", "externalName", "loadBalancerIP", "externalTrafficPolicy",
        "internalTrafficPolicy", "ipFamilyPolicy",
    ]

    private static func portDefaults(_ port: JSONValue) -> JSONValue {
        var port = port
        if port["targetPort"] == nil || port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = port["port"]
        }
        if port["nodePort"] == 0 { port["nodePort"] = nil }
        if port["name"] == "" { port["name"] = nil }
        return port
    }

    private static func ingressDefaults(_ ingress: JSONValue) -> JSONValue {
        guard !isEmpty(ingress["ip"]), ingress["ipMode"] == nil else { return ingress }
        var ingress = ingress
        ingress["ipMode"] = "VIP"
        return ingress
    }

    // MARK: - Before validation

    /// Readies a decoded, defaulted Service for validation and allocation on create.
    public static func prepareForCreate(_ object: inout JSONValue) {
        let address = object["spec", "clusterIP"]
        if !isEmpty(address), (object["spec", "clusterIPs"]?.array ?? []).isEmpty {
            object["spec", "clusterIPs"] = address.map { [$0] }
        }
    }

    /// Readies a decoded, defaulted Service to replace `old`: takes over what the client left out,
    /// and clears what the new type has no use for where the client left it unchanged.
    public static func prepareForUpdate(old: JSONValue, new: inout JSONValue) {
        guard let before = old["spec"], var after = new["spec"] else { return }
        inheritAllocated(before, &after)
        alignClusterIPs(before, &after)
        trimFamilies(before, &after)
        clearUnused(before, &after)
        new["spec"] = after
        if before["type"] == "LoadBalancer", after["type"] != "LoadBalancer" {
            new["status", "loadBalancer"] = [:]
        }
    }

    /// A PUT that omits clusterIP, nodePort or healthCheckNodePort inherits the old value.
    private static func inheritAllocated(_ before: JSONValue, _ after: inout JSONValue) {
        if needsClusterIP(before), needsClusterIP(after) {
            if isEmpty(after["clusterIP"]) { after["clusterIP"] = before["clusterIP"] }
            if (after["clusterIPs"]?.array ?? []).isEmpty,
                after["clusterIP"] == before["clusterIP"]
            {
                after["clusterIPs"] = before["clusterIPs"]
            }
        }
        if needsNodePort(before), needsNodePort(after) { inheritNodePorts(before, &after) }
        if needsHealthCheckPort(before), needsHealthCheckPort(after),
            after["healthCheckNodePort"] == nil
        {
            after["healthCheckNodePort"] = before["healthCheckNodePort"]
        }
    }

    /// Ports are matched by name; a port that another entry asks for is not given twice.
    private static func inheritNodePorts(_ before: JSONValue, _ after: inout JSONValue) {
        guard var ports = after["ports"]?.array else { return }
        var used = nodePorts(before).intersection(nodePorts(after))
        var known: [String: Int] = [:]
        for port in before["ports"]?.array ?? [] {
            known[port["name"]?.string ?? ""] = port["nodePort"]?.int ?? 0
        }
        for index in ports.indices where (ports[index]["nodePort"]?.int ?? 0) == 0 {
            guard let port = known[ports[index]["name"]?.string ?? ""], port != 0,
                used.insert(port).inserted
            else { continue }
            ports[index]["nodePort"] = .integer(Int64(port))
        }
        after["ports"] = .array(ports)
    }

    /// `clusterIP` is the older twin of `clusterIPs[0]`: a change of the one changes the other.
    private static func alignClusterIPs(_ before: JSONValue, _ after: inout JSONValue) {
        guard before["clusterIP"] != after["clusterIP"] else { return }
        let isUnchanged = before["clusterIPs"] == after["clusterIPs"]
        if isEmpty(after["clusterIP"]) {
            if isUnchanged { after["clusterIPs"] = nil }
        } else if isUnchanged || (after["clusterIPs"]?.array ?? []).isEmpty {
            after["clusterIPs"] = after["clusterIP"].map { [$0] }
        }
    }

    /// Going to SingleStack gives up the second family.
    private static func trimFamilies(_ before: JSONValue, _ after: inout JSONValue) {
        guard after["ipFamilyPolicy"] == "SingleStack",
            before["ipFamilyPolicy"] != "SingleStack"
        else { return }
        for key in ["clusterIPs", "ipFamilies"] {
            guard let values = after[key]?.array, values.count == 2, before[key] == after[key]
            else { continue }
            after[key] = .array([values[0]])
        }
    }

    private static func clearUnused(_ before: JSONValue, _ after: inout JSONValue) {
        func clear(_ keys: String...) {
            for key in keys where before[key] == after[key] { after[key] = nil }
        }
        if needsClusterIP(before), !needsClusterIP(after) {
            if before["clusterIPs"] == after["clusterIPs"] { clear("clusterIP", "clusterIPs") }
            clear("ipFamilies", "ipFamilyPolicy")
        }
        if needsNodePort(before), !needsNodePort(after),
            nodePorts(before) == nodePorts(after), let ports = after["ports"]?.array
        {
            after["ports"] = .array(
                ports.map { port in
                    var port = port
                    port["nodePort"] = nil
                    return port
                })
        }
        if needsHealthCheckPort(before), !needsHealthCheckPort(after) {
            clear("healthCheckNodePort")
        }
        if before["type"] == "LoadBalancer", after["type"] != "LoadBalancer" {
            clear("allocateLoadBalancerNodePorts", "loadBalancerClass")
        }
        if isExternal(before), !isExternal(after) { clear("externalTrafficPolicy") }
        if after["type"] == "ExternalName", before["type"] != "ExternalName" {
            clear("internalTrafficPolicy")
        }
    }

    // MARK: - What a spec needs

    static func needsClusterIP(_ spec: JSONValue) -> Bool { spec["type"] != "ExternalName" }

    static func needsNodePort(_ spec: JSONValue) -> Bool {
        spec["type"] == "NodePort"
            || spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false
    }

    static func needsHealthCheckPort(_ spec: JSONValue) -> Bool {
        spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
    }

    /// Reachable from outside: NodePort, LoadBalancer, or with external addresses.
    static func isExternal(_ spec: JSONValue) -> Bool {
        spec["type"] == "NodePort" || spec["type"] == "LoadBalancer"
            || spec["type"] == "ClusterIP" && !(spec["externalIPs"]?.array ?? []).isEmpty
    }

    static func isHeadless(_ spec: JSONValue) -> Bool {
        (spec["clusterIPs"]?[0] ?? spec["clusterIP"]) == "None"
    }

    static func nodePorts(_ spec: JSONValue) -> Set<Int> {
        Set((spec["ports"]?.array ?? []).compactMap { $0["nodePort"]?.int }.filter { $0 != 0 })
    }

    static func isEmpty(_ value: JSONValue?) -> Bool { value == nil || value == "" }
}
