import JSON
import NetworkTypes

/// Rules of namespaces.
enum NamespaceRules {
    static func defaults(_ object: inout JSONValue) {
        // Selectors of namespaces rely on this label.
        if let name = object["metadata", "name"]?.string, !name.isEmpty {
            object["metadata", "labels", "kubernetes.io/metadata.name"] = .string(name)
        }
    }

    static func prepareForCreate(_ object: inout JSONValue) {
        var finalizers = object["spec", "finalizers"]?.array ?? []
        if !finalizers.contains("kubernetes") { finalizers.append("kubernetes") }
        object["spec", "finalizers"] = .array(finalizers)
        object["status"] = ["phase": "Active"]
    }

    /// Finalizers of a namespace change by `/finalize` alone.
    static func prepareForUpdate(old: JSONValue, new: inout JSONValue) {
        new["spec", "finalizers"] = old["spec", "finalizers"]
    }
}

/// Rules of nodes.
enum NodeRules {
    static func defaults(_ object: inout JSONValue) {
        if let capacity = object["status", "capacity"], object["status", "allocatable"] == nil {
            object["status", "allocatable"] = capacity
        }
        if let prefix = object["spec", "podCIDR"], object["spec", "podCIDRs"] == nil {
            object["spec", "podCIDRs"] = [prefix]
        }
    }
}

/// Rules of ConfigMaps and Secrets.
enum DataRules {
    /// `stringData` is written in plain text and read as `data`.
    static func mergeStringData(_ object: inout JSONValue) {
        guard let texts = object["stringData"]?.object else { return }
        for (key, value) in texts {
            object["data", key] = .string(Base64.encode((value.string ?? "").utf8))
        }
        object["stringData"] = nil
    }

    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        var errors: [FieldError] = []
        if let type = old["type"], let newType = new["type"], type != newType {
            errors.append(.invalid("type", newType, "field is immutable"))
        }
        guard old["immutable"]?.bool == true else { return errors }
        if new["immutable"]?.bool != true {
            errors.append(
                .forbidden("immutable", "field is immutable when `immutable` is set"))
        }
        for key in ["data", "binaryData"] where old[key] != new[key] {
            errors.append(.forbidden(key, "field is immutable when `immutable` is set"))
        }
        return errors
    }
}

/// Rules of bindings, roles and network policies.
enum PolicyDefaults {
    static func binding(_ object: inout JSONValue) {
        guard let subjects = object["subjects"]?.array else { return }
        object["subjects"] = .array(
            subjects.map { subject in
                guard subject["apiGroup"] == nil else { return subject }
                var subject = subject
                if ["User", "Group"].contains(subject["kind"]?.string ?? "") {
                    subject["apiGroup"] = "rbac.authorization.k8s.io"
                }
                if subject["kind"] == "ServiceAccount", subject["namespace"] == nil,
                    object["kind"] == "RoleBinding",
                    let namespace = object["metadata", "namespace"]
                {
                    subject["namespace"] = namespace
                }
                return subject
            })
    }

    static func validateBindingUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        guard let role = new["roleRef"], role != old["roleRef"] else { return [] }
        return [.invalid("roleRef", role, "cannot change roleRef")]
    }

    static func networkPolicy(_ object: inout JSONValue) {
        guard object["spec"] != nil, object["spec", "policyTypes"] == nil else { return }
        let hasEgress = !(object["spec", "egress"]?.array ?? []).isEmpty
        object["spec", "policyTypes"] = hasEgress ? ["Ingress", "Egress"] : ["Ingress"]
    }
}

/// Rules of Endpoints, EndpointSlices and address pools.
enum EndpointRules {
    static func validateEndpoints(_ object: JSONValue) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, subset) in (object["subsets"]?.array ?? []).enumerated() {
            let path = "subsets[\(index)]"
            let ready = subset["addresses"]?.array ?? []
            let notReady = subset["notReadyAddresses"]?.array ?? []
            if ready.isEmpty, notReady.isEmpty {
                errors.append(.required(path, "must specify `addresses` or `notReadyAddresses`"))
            }
            for (key, addresses) in [("addresses", ready), ("notReadyAddresses", notReady)] {
                for (position, address) in addresses.enumerated() {
                    let text = address["ip"]?.string ?? ""
                    if text.isEmpty { continue }  // the schema reports it
                    errors += addressErrors(text, at: "\(path).\(key)[\(position)].ip")
                }
            }
            let ports = subset["ports"]?.array ?? []
            errors += validatePorts(ports, at: "\(path).ports", needsNames: ports.count > 1)
        }
        return errors
    }

    /// Why `text` is no address that endpoints may have.
    private static func addressErrors(_ text: String, at path: String) -> [FieldError] {
        guard let address = IPAddress(text) else {
            return [.invalid(path, .string(text), addressText)]
        }
        let fault: String? =
            if address.isUnspecified {
                "may not be unspecified (\(text))"
            } else if address.isLoopback {
                "may not be in the loopback range (127.0.0.0/8, ::1/128)"
            } else if address.isLinkLocalUnicast {
                "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
            } else if address.isMulticast {
                "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
            } else { nil }
        return fault.map { [.invalid(path, .string(text), $0)] } ?? []
    }

    static let addressText = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

    private static func validatePorts(
        _ ports: [JSONValue], at path: String, needsNames: Bool
    ) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, port) in ports.enumerated() {
            let field = "\(path)[\(index)]"
            let name = port["name"]?.string ?? ""
            if name.isEmpty, needsNames {
                errors.append(.required("\(field).name"))
            } else if !name.isEmpty {
                for fault in Names.labelFaults(name) {
                    errors.append(.invalid("\(field).name", .string(name), fault))
                }
            }
            if let number = port["port"], !PodRules.isPort(number) {
                errors.append(.invalid("\(field).port", number, PodRules.portText))
            }
            if let transport = port["protocol"],
                !PodRules.transportNames.contains(transport.string ?? "")
            {
                errors.append(
                    .notSupported("\(field).protocol", transport, PodRules.transportNames))
            }
        }
        return errors
    }

    // MARK: - Slices

    static func validateSlice(_ object: JSONValue) -> [FieldError] {
        let endpoints = object["endpoints"]?.array ?? []
        let ports = object["ports"]?.array ?? []
        if endpoints.count > 1000 {
            return [.tooMany("endpoints", count: endpoints.count, limit: 1000)]
        }
        if ports.count > 20_000 {
            return [.tooMany("ports", count: ports.count, limit: 20_000)]
        }
        var errors: [FieldError] = []
        let type = object["addressType"]?.string ?? ""
        for (index, endpoint) in endpoints.enumerated() {
            let path = "endpoints[\(index)]"
            let addresses = endpoint["addresses"]?.array ?? []
            if addresses.count > 100 {
                errors.append(
                    .tooMany("\(path).addresses", count: addresses.count, limit: 100))
            }
            for (position, address) in addresses.enumerated() {
                errors += sliceAddressErrors(
                    address.string ?? "", type, at: "\(path).addresses[\(position)]")
            }
            for (key, limit) in [("forZones", 8), ("forNodes", 8)] {
                let hints = endpoint["hints", key]?.array ?? []
                if hints.count > limit {
                    errors.append(
                        .tooMany("\(path).hints.\(key)", count: hints.count, limit: limit))
                }
            }
        }
        errors += validatePorts(ports, at: "ports", needsNames: false)
        var names: Set<String> = []
        for (index, port) in ports.enumerated() {
            let name = port["name"]?.string ?? ""
            if !names.insert(name).inserted {
                errors.append(.duplicate("ports[\(index)].name", .string(name)))
            }
        }
        return errors
    }

    private static func sliceAddressErrors(
        _ text: String, _ type: String, at path: String
    ) -> [FieldError] {
        if type == "FQDN" {
            return Names.subdomainFaults(text).map { .invalid(path, .string(text), $0) }
        }
        guard let address = IPAddress(text), address.family.rawValue == type else {
            let example = type == "IPv6" ? "IPv6" : "IPv4"
            return [.invalid(path, .string(text), "must be a valid \(example) address")]
        }
        return addressErrors(text, at: path)
    }

    static func validateSliceUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        guard let type = new["addressType"], type != old["addressType"] else { return [] }
        return [.invalid("addressType", type, "field is immutable")]
    }

    // MARK: - Pools

    static func validateAddressPool(_ object: JSONValue) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, entry) in (object["spec", "addresses"]?.array ?? []).enumerated() {
            let text = entry.string ?? ""
            let bounds = text.split(separator: "-").map { IPAddress(trimmed($0)) }
            let isRange =
                bounds.count == 2
                && zip(bounds.prefix(1), bounds.suffix(1)).allSatisfy { low, high in
                    guard let low, let high else { return false }
                    return low.family == high.family && low <= high
                }
            if Prefix(trimmed(text)) == nil, !isRange {
                errors.append(
                    .invalid(
                        "spec.addresses[\(index)]", entry,
                        "must be a prefix (10.1.0.0/24) or a range (10.1.0.2-10.1.0.100)"))
            }
        }
        return errors
    }
}

/// Rules of ServiceCIDRs and IPAddresses.
enum ServiceCIDRRules {
    static func validate(_ object: JSONValue) -> [FieldError] {
        let entries = object["spec", "cidrs"]?.array ?? []
        if entries.isEmpty {
            return [.required("spec.cidrs", "at least one CIDR required")]
        }
        if entries.count > 2 {
            return [
                .invalid(
                    "spec.cidrs", .array(entries),
                    "may only hold up to 2 values")
            ]
        }
        var errors: [FieldError] = []
        var families: [IPAddress.Family] = []
        for (index, entry) in entries.enumerated() {
            let text = entry.string ?? ""
            guard let prefix = Prefix(text), prefix.description == text else {
                errors.append(
                    .invalid(
                        "spec.cidrs[\(index)]", entry,
                        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
                continue
            }
            families.append(prefix.family)
        }
        if families.count == 2, families[0] == families[1] {
            errors.append(
                .invalid(
                    "spec.cidrs", .array(entries),
                    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 "
                        + "and 2001:db8::/96"))
        }
        return errors
    }

    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        let before = old["spec", "cidrs"]?.array ?? []
        let after = new["spec", "cidrs"]?.array ?? []
        // A second family may be added, nothing else may change.
        if after.starts(with: before) { return [] }
        return [.invalid("spec.cidrs", .array(after), "field is immutable")]
    }

    static func validateAddressUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        guard let parent = new["spec", "parentRef"], parent != old["spec", "parentRef"] else {
            return []
        }
        return [.invalid("spec.parentRef", parent, "field is immutable")]
    }
}
