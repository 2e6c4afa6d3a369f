import JSON
import NetworkTypes

/// Checks of kinds that are kept for others to act on: what Kubernetes refuses is refused here, so
/// that a manifest that is accepted would be accepted there.
enum PolicyRules {
    // MARK: - PodDisruptionBudget

    static func validateBudget(_ object: JSONValue) -> [FieldError] {
        let spec = object["spec"] ?? [:]
        var errors: [FieldError] = []
        if spec["minAvailable"] != nil, spec["maxUnavailable"] != nil {
            errors.append(
                .invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
        }
        for field in ["minAvailable", "maxUnavailable"] {
            guard let value = spec[field] else { continue }
            errors += amountErrors(value, at: "spec.\(field)")
        }
        if let policy = spec["unhealthyPodEvictionPolicy"] {
            let known = ["AlwaysAllow", "IfHealthyBudget"]
            if !known.contains(policy.string ?? "") {
                errors.append(.notSupported("spec.unhealthyPodEvictionPolicy", policy, known))
            }
        }
        return errors
    }

    /// A count or a percentage up to 100.
    private static func amountErrors(_ value: JSONValue, at path: String) -> [FieldError] {
        if let count = value.integer {
            return count >= 0
                ? [] : [.invalid(path, value, "must be greater than or equal to 0")]
        }
        let text = value.string ?? ""
        guard text.hasSuffix("%"), let percent = Int(text.dropLast()), percent >= 0 else {
            return [
                .invalid(
                    path, value,
                    "a valid percent string must be a numeric string followed by an ending '%' "
                        + "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")
            ]
        }
        return percent <= 100 ? [] : [.invalid(path, value, "must not be greater than 100%")]
    }

    // MARK: - Ingress

    static func validateIngress(_ object: JSONValue) -> [FieldError] {
        let spec = object["spec"] ?? [:]
        let rules = spec["rules"]?.array ?? []
        var errors: [FieldError] = []
        if rules.isEmpty, spec["defaultBackend"] == nil {
            errors.append(
                .invalid(
                    "spec", .array(rules), "either `defaultBackend` or `rules` must be specified"))
        }
        if let backend = spec["defaultBackend"] {
            errors += backendErrors(backend, at: "spec.defaultBackend")
        }
        for (index, rule) in rules.enumerated() {
            errors += hostErrors(rule["host"]?.string ?? "", at: "spec.rules[\(index)].host")
            for (position, path) in (rule["http", "paths"]?.array ?? []).enumerated() {
                errors += pathErrors(path, at: "spec.rules[\(index)].http.paths[\(position)]")
            }
        }
        return errors
    }

    private static func hostErrors(_ host: String, at path: String) -> [FieldError] {
        if host.isEmpty { return [] }
        if IPAddress(host) != nil {
            return [.invalid(path, .string(host), "must be a DNS name, not an IP address")]
        }
        let name = host.hasPrefix("*.") ? String(host.dropFirst(2)) : host
        return Names.subdomainFaults(name).map { .invalid(path, .string(host), $0) }
    }

    private static func pathErrors(_ path: JSONValue, at place: String) -> [FieldError] {
        let text = path["path"]?.string ?? ""
        let type = path["pathType"]?.string ?? ""
        var errors: [FieldError] = []
        if type == "Exact" || type == "Prefix" || !text.isEmpty, !text.hasPrefix("/") {
            errors.append(
                .invalid("\(place).path", .string(text), "must be an absolute path"))
        }
        if let backend = path["backend"] {
            errors += backendErrors(backend, at: "\(place).backend")
        }
        return errors
    }

    private static func backendErrors(_ backend: JSONValue, at path: String) -> [FieldError] {
        switch (backend["service"], backend["resource"]) {
        case (nil, nil): return [.required(path, "resource or service backend is required")]
        case (_?, _?):
            return [.invalid(path, "", "cannot set both resource and service backends")]
        case (nil, _): return []
        case (let service?, nil):
            var errors: [FieldError] = []
            for fault in Names.labelFaults(service["name"]?.string ?? "") {
                errors.append(.invalid("\(path).service.name", service["name"] ?? "", fault))
            }
            let port = service["port"]
            let name = port?["name"]?.string ?? ""
            let number = port?["number"]?.int ?? 0
            if name.isEmpty, number == 0 {
                errors.append(.required(path, "port name or number is required"))
            } else if !name.isEmpty, number != 0 {
                errors.append(.invalid(path, "", "cannot set both port name & port number"))
            } else if !name.isEmpty {
                for fault in Names.portNameFaults(name) {
                    errors.append(.invalid("\(path).service.port.name", .string(name), fault))
                }
            } else if !(1...65535).contains(number) {
                errors.append(
                    .invalid(
                        "\(path).service.port.number", .integer(Int64(number)),
                        PodRules.portText))
            }
            return errors
        }
    }

    // MARK: - IngressClass

    static func validateIngressClass(_ object: JSONValue) -> [FieldError] {
        let controller = object["spec", "controller"]?.string ?? ""
        guard !controller.isEmpty else { return [.required("spec.controller")] }
        guard let slash = controller.firstIndex(of: "/") else {
            return [
                .invalid(
                    "spec.controller", .string(controller),
                    "must be a domain-prefixed path (such as \"acme.io/foo\")")
            ]
        }
        return Names.subdomainFaults(String(controller[..<slash])).map {
            .invalid("spec.controller", .string(controller), $0)
        }
    }

    static func validateIngressClassUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        let controller = new["spec", "controller"]
        guard controller != old["spec", "controller"] else { return [] }
        return [.invalid("spec.controller", controller ?? "", "field is immutable")]
    }

    // MARK: - NetworkPolicy

    static func validateNetworkPolicy(_ object: JSONValue) -> [FieldError] {
        let spec = object["spec"] ?? [:]
        var errors: [FieldError] = []
        for (index, type) in (spec["policyTypes"]?.array ?? []).enumerated()
        where !["Ingress", "Egress"].contains(type.string ?? "") {
            errors.append(
                .notSupported("spec.policyTypes[\(index)]", type, ["Egress", "Ingress"]))
        }
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in (spec[direction]?.array ?? []).enumerated() {
                let place = "spec.\(direction)[\(index)]"
                for (position, port) in (rule["ports"]?.array ?? []).enumerated() {
                    errors += policyPortErrors(port, at: "\(place).ports[\(position)]")
                }
                for (position, peer) in (rule[peers]?.array ?? []).enumerated() {
                    errors += peerErrors(peer, at: "\(place).\(peers)[\(position)]")
                }
            }
        }
        return errors
    }

    private static func policyPortErrors(_ port: JSONValue, at path: String) -> [FieldError] {
        var errors: [FieldError] = []
        if let transport = port["protocol"],
            !PodRules.transportNames.contains(transport.string ?? "")
        {
            errors.append(
                .notSupported("\(path).protocol", transport, PodRules.transportNames))
        }
        switch port["port"] {
        case .string(let name)?:
            for fault in Names.portNameFaults(name) {
                errors.append(.invalid("\(path).port", .string(name), fault))
            }
        case let number?:
            if !PodRules.isPort(number) {
                errors.append(.invalid("\(path).port", number, PodRules.portText))
            }
        case nil: break
        }
        if let end = port["endPort"] {
            if port["port"] == nil {
                errors.append(
                    .required("\(path).port", "must be specified when `endPort` is specified"))
            } else if let first = port["port"]?.int, first > end.int ?? 0 {
                errors.append(
                    .invalid(
                        "\(path).endPort", end, "must be greater than or equal to `port`"))
            }
        }
        return errors
    }

    private static func peerErrors(_ peer: JSONValue, at path: String) -> [FieldError] {
        guard let block = peer["ipBlock"] else {
            return peer["podSelector"] == nil && peer["namespaceSelector"] == nil
                ? [.required(path, "must specify a peer")] : []
        }
        if peer["podSelector"] != nil || peer["namespaceSelector"] != nil {
            return [
                .forbidden(path, "may not specify both ipBlock and another peer")
            ]
        }
        let cidr = block["cidr"]?.string ?? ""
        let text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        guard let range = Prefix(cidr) else {
            return [.invalid("\(path).ipBlock.cidr", .string(cidr), text)]
        }
        var errors: [FieldError] = []
        for (index, value) in (block["except"]?.array ?? []).enumerated() {
            let place = "\(path).ipBlock.except[\(index)]"
            guard let hole = value.string.flatMap({ Prefix($0) }) else {
                errors.append(.invalid(place, value, text))
                continue
            }
            if !range.contains(hole.address) || hole.length <= range.length {
                errors.append(
                    .invalid(place, value, "must be a strict subset of `cidr`"))
            }
        }
        return errors
    }
}
