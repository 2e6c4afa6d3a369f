import JSON
import NetworkTypes

/// Kubernetes' checks of what a load balancer writes into a Service's status
/// (ValidateLoadBalancerStatus).
enum ServiceStatusValidator {
    static func validate(_ status: JSONValue?, _ type: String) -> [FieldError] {
        let ingress = status?["loadBalancer", "ingress"]?.array ?? []
        guard !ingress.isEmpty else { return [] }
        let path = "status.loadBalancer.ingress"
        guard type == "LoadBalancer" else {
            return [
                .forbidden(path, "may only be used when `spec.type` is \"LoadBalancer\"")
            ]
        }
        return ingress.enumerated().flatMap { validate($1, at: "\(path)[\($0)]") }
    }

    private static func validate(_ entry: JSONValue, at path: String) -> [FieldError] {
        var errors: [FieldError] = []
        let address = entry["ip"]?.string ?? ""
        if !address.isEmpty, IPAddress(address) == nil {
            errors.append(
                .invalid("\(path).ip", .string(address), EndpointRules.addressText))
        }
        switch entry["ipMode"] {
        case nil:
            if !address.isEmpty {
                errors.append(.required("\(path).ipMode", "must be specified when `ip` is set"))
            }
        case _? where address.isEmpty:
            errors.append(.forbidden("\(path).ipMode", "may not be specified when `ip` is not set"))
        case let mode?:
            let known = ["Proxy", "VIP"]
            if !known.contains(mode.string ?? "") {
                errors.append(.notSupported("\(path).ipMode", mode, known))
            }
        }
        let name = entry["hostname"]?.string ?? ""
        if !name.isEmpty {
            for fault in Names.subdomainFaults(name) {
                errors.append(.invalid("\(path).hostname", .string(name), fault))
            }
            if IPAddress(name) != nil {
                errors.append(
                    .invalid(
                        "\(path).hostname", .string(name), "must be a DNS name, not an IP address"))
            }
        }
        return errors
    }
}
