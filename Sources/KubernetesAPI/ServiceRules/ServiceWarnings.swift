import JSON
import NetworkTypes

/// What is said in `Warning:` headers about a Service that is accepted all the same, in the words of
/// Kubernetes 1.36.
enum ServiceWarnings {
    static func warnings(_ object: JSONValue) -> [String] {
        let spec = object["spec"] ?? [:]
        let type = spec["type"]?.string ?? "ClusterIP"
        let external = spec["externalIPs"]?.array ?? []
        var texts: [String] = []
        let hints = "service.kubernetes.io/topology-aware-hints"
        if object["metadata", "annotations", hints] != nil {
            texts.append(
                "annotation \(hints) is deprecated, please use "
                    + "service.kubernetes.io/topology-mode instead")
        }
        if type == "ClusterIP", spec["clusterIP"] == "None" {
            if !(spec["loadBalancerIP"]?.string ?? "").isEmpty {
                texts.append("spec.loadBalancerIP is ignored for headless services")
            }
            if !external.isEmpty {
                texts.append("spec.externalIPs is ignored for headless services")
            }
            if spec["sessionAffinity"]?.string ?? "None" != "None" {
                texts.append("spec.SessionAffinity is ignored for headless services")
            }
        }
        if !external.isEmpty { texts.append("spec.externalIPs is deprecated") }
        texts += addressWarnings(spec)
        if type == "ExternalName", !external.isEmpty {
            texts.append("spec.externalIPs is ignored when spec.type is \"ExternalName\"")
        }
        if type != "ExternalName", !(spec["externalName"]?.string ?? "").isEmpty {
            texts.append("spec.externalName is ignored when spec.type is not \"ExternalName\"")
        }
        if spec["trafficDistribution"] == "PreferClose" {
            texts.append(
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"")
        }
        return texts
    }

    /// IPv6 in another form than RFC 5952's; other odd forms are refused before.
    private static func addressWarnings(_ spec: JSONValue) -> [String] {
        var texts: [String] = []
        func check(_ value: JSONValue, _ path: String) {
            guard let text = value.string, let address = IPAddress(text),
                address.family == .ipv6, address.description != text
            else { return }
            texts.append(
                "\(path): IPv6 address \"\(text)\" should be in RFC 5952 canonical format "
                    + "(\"\(address)\")")
        }
        for field in ["clusterIPs", "externalIPs"] {
            for (index, value) in (spec[field]?.array ?? []).enumerated() {
                check(value, "spec.\(field)[\(index)]")
            }
        }
        if let value = spec["loadBalancerIP"] { check(value, "spec.loadBalancerIP") }
        for (index, value) in (spec["loadBalancerSourceRanges"]?.array ?? []).enumerated() {
            let path = "spec.loadBalancerSourceRanges[\(index)]"
            guard let text = value.string, let range = Prefix(text),
                let address = IPAddress(text.prefix { $0 != "/" })
            else { continue }
            if address != range.address {
                texts.append(
                    "\(path): CIDR value \"\(text)\" is ambiguous in this context (should be "
                        + "\"\(range)\" or \"\(Prefix(host: address))\"?)")
            } else if range.family == .ipv6, range.description != text {
                texts.append(
                    "\(path): IPv6 CIDR value \"\(text)\" should be in RFC 5952 canonical format "
                        + "(\"\(range)\")")
            }
        }
        return texts
    }
}
