import JSON
import NetworkTypes

/// Kubernetes' checks of a Service (ValidateService, ValidateServiceUpdate), message by message.
enum ServiceValidator {
    static func validate(_ object: JSONValue) -> [FieldError] {
        let spec = object["spec"] ?? [:]
        let type = spec["type"]?.string ?? ""
        var errors: [FieldError] = []
        let ports = spec["ports"]?.array ?? []
        if ports.isEmpty, !ServiceRules.isHeadless(spec), type != "ExternalName" {
            errors.append(.required("spec.ports"))
        }
        errors += validateType(spec, type)
        errors += validatePorts(ports)
        errors += MetadataRules.validateLabels(spec["selector"], at: "spec.selector")
        errors += validateAffinity(spec)
        if type != "ExternalName" {
            errors += validateClusterIPs(spec)
            errors += validateFamilies(spec)
        }
        errors += validateExternalIPs(spec)
        errors += supported(
            spec["type"], at: "spec.type",
            ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], isRequired: true)
        errors += validateNodePorts(ports, type)
        errors += validateLoadBalancer(object, spec, type)
        errors += validateTraffic(spec, type)
        errors += ServiceStatusValidator.validate(object["status"], type)
        return errors
    }

    // MARK: - Types

    private static func validateType(_ spec: JSONValue, _ type: String) -> [FieldError] {
        switch type {
        case "LoadBalancer", "NodePort":
            guard ServiceRules.isHeadless(spec) else { return [] }
            return [
                .invalid(
                    "spec.clusterIPs[0]", "None", "may not be set to 'None' for \(type) services")
            ]
        case "ExternalName":
            var errors: [FieldError] = []
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                guard let value = spec[key], value.array?.isEmpty != true else { continue }
                errors.append(.forbidden("spec.\(key)", "may not be set for ExternalName services"))
            }
            var name = spec["externalName"]?.string ?? ""
            if name.hasSuffix(".") { name.removeLast() }
            if name.isEmpty {
                errors.append(.required("spec.externalName"))
            } else {
                for fault in Names.subdomainFaults(name) {
                    errors.append(
                        .invalid("spec.externalName", spec["externalName"] ?? "", fault))
                }
            }
            return errors
        default: return []
        }
    }

    private static func supported(
        _ value: JSONValue?, at path: String, _ values: [String], isRequired: Bool = false
    ) -> [FieldError] {
        guard let value, value != "" else { return isRequired ? [.required(path)] : [] }
        return values.contains(value.string ?? "") ? [] : [.notSupported(path, value, values)]
    }

    // MARK: - Ports

    private static func validatePorts(_ ports: [JSONValue]) -> [FieldError] {
        var errors: [FieldError] = []
        var names: Set<String> = []
        var taken: Set<JSONValue> = []
        for (index, port) in ports.enumerated() {
            let path = "spec.ports[\(index)]"
            let name = port["name"]?.string ?? ""
            if name.isEmpty {
                if ports.count > 1 { errors.append(.required("\(path).name")) }
            } else {
                for fault in Names.labelFaults(name) {
                    errors.append(.invalid("\(path).name", .string(name), fault))
                }
                if !names.insert(name).inserted {
                    errors.append(.duplicate("\(path).name", .string(name)))
                }
            }
            errors += validateNumbers(port, at: path)
            let key: JSONValue = [
                "protocol": port["protocol"] ?? "TCP", "port": port["port"] ?? 0,
            ]
            if !taken.insert(key).inserted { errors.append(.duplicate(path, key)) }
        }
        return errors
    }

    private static func validateNumbers(_ port: JSONValue, at path: String) -> [FieldError] {
        var errors: [FieldError] = []
        let number = port["port"] ?? 0
        if !PodRules.isPort(number) {
            errors.append(.invalid("\(path).port", number, PodRules.portText))
        }
        errors += supported(
            port["protocol"], at: "\(path).protocol", ["SCTP", "TCP", "UDP"], isRequired: true)
        switch port["targetPort"] {
        case .string(let name)?:
            for fault in Names.portNameFaults(name) {
                errors.append(.invalid("\(path).targetPort", .string(name), fault))
            }
        case let target?:
            if !PodRules.isPort(target) {
                errors.append(.invalid("\(path).targetPort", target, PodRules.portText))
            }
        case nil: break
        }
        if let application = port["appProtocol"]?.string {
            for fault in Names.qualifiedNameFaults(application) {
                errors.append(.invalid("\(path).appProtocol", .string(application), fault))
            }
        }
        return errors
    }

    private static func validateNodePorts(_ ports: [JSONValue], _ type: String) -> [FieldError] {
        var errors: [FieldError] = []
        var taken: Set<JSONValue> = []
        for (index, port) in ports.enumerated() {
            guard let number = port["nodePort"], number != 0 else { continue }
            let path = "spec.ports[\(index)].nodePort"
            if type == "ClusterIP" || type == "ExternalName" {
                errors.append(.forbidden(path, "may not be used when `type` is '\(type)'"))
                continue
            }
            let key: JSONValue = [number, port["protocol"] ?? "TCP"]
            if !taken.insert(key).inserted { errors.append(.duplicate(path, number)) }
        }
        return errors
    }

    // MARK: - Affinity

    private static func validateAffinity(_ spec: JSONValue) -> [FieldError] {
        let path = "spec.sessionAffinity"
        var errors = supported(
            spec["sessionAffinity"], at: path, ["ClientIP", "None"], isRequired: true)
        if spec["sessionAffinity"] == "ClientIP" {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            let timeout = spec["sessionAffinityConfig", "clientIP", "timeoutSeconds"]
            if timeout == nil {
                errors.append(
                    .required(field, "when session affinity type is ClientIP"))
            } else if let timeout, !(1...86400).contains(timeout.int ?? 0) {
                errors.append(
                    .invalid(field, timeout, "must be greater than 0 and less than 86400"))
            }
        } else if spec["sessionAffinity"] == "None", spec["sessionAffinityConfig"] != nil {
            errors.append(
                .forbidden(
                    "spec.sessionAffinityConfig",
                    "must not be set when session affinity is None"))
        }
        return errors
    }

    // MARK: - Addresses

    private static func validateClusterIPs(_ spec: JSONValue) -> [FieldError] {
        let addresses = spec["clusterIPs"]?.array ?? []
        let list = JSONValue.array(addresses)
        var errors: [FieldError] = []
        if addresses.isEmpty {
            if !ServiceRules.isEmpty(spec["clusterIP"]) {
                errors.append(.required("spec.clusterIPs"))
            }
            return errors
        }
        if ServiceRules.isEmpty(spec["clusterIP"]) {
            if addresses[0] != "" { errors.append(.required("spec.clusterIP")) }
        } else if spec["clusterIP"] != addresses[0] {
            errors.append(
                .invalid("spec.clusterIPs", list, "first value must match `clusterIP`"))
        }
        if addresses.count > 2 {
            errors.append(.invalid("spec.clusterIPs", list, "may only hold up to 2 values"))
        }
        var families: [IPAddress.Family] = []
        for (index, value) in addresses.enumerated() {
            let text = value.string ?? ""
            if text == "None" {
                if addresses.count > 1 {
                    errors.append(
                        .invalid(
                            "spec.clusterIPs[\(index)]", list,
                            "'None' must be the first and only value"))
                }
                continue
            }
            guard let address = IPAddress(text) else {
                if text.isEmpty { continue }
                errors.append(
                    .invalid("spec.clusterIPs[\(index)]", value, EndpointRules.addressText))
                continue
            }
            families.append(address.family)
        }
        if families.count == 2, families[0] == families[1] {
            errors.append(
                .invalid(
                    "spec.clusterIPs", list,
                    "may specify no more than one IP for each IP family"))
        }
        return errors + validateMatch(addresses, spec["ipFamilies"]?.array ?? [])
    }

    private static func validateMatch(
        _ addresses: [JSONValue], _ families: [JSONValue]
    ) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, pair) in zip(addresses, families).enumerated() {
            guard let address = pair.0.string.flatMap({ IPAddress($0) }),
                address.family.rawValue != pair.1.string
            else { continue }
            errors.append(
                .invalid(
                    "spec.clusterIPs[\(index)]", pair.0,
                    "expected an \(pair.1.string ?? "") value as indicated by "
                        + "`ipFamilies[\(index)]`"))
        }
        return errors
    }

    private static func validateFamilies(_ spec: JSONValue) -> [FieldError] {
        let families = spec["ipFamilies"]?.array ?? []
        var errors: [FieldError] = []
        if families.count > 2 {
            errors.append(
                .invalid(
                    "spec.ipFamilies", .array(families), "may only hold up to 2 values"))
        }
        for (index, family) in families.enumerated() {
            errors += supported(family, at: "spec.ipFamilies[\(index)]", ["IPv4", "IPv6"])
            if families[..<index].contains(family) {
                errors.append(.duplicate("spec.ipFamilies[\(index)]", family))
            }
        }
        errors += supported(
            spec["ipFamilyPolicy"], at: "spec.ipFamilyPolicy",
            ["PreferDualStack", "RequireDualStack", "SingleStack"])
        return errors
    }

    private static func validateExternalIPs(_ spec: JSONValue) -> [FieldError] {
        var errors: [FieldError] = []
        for (index, value) in (spec["externalIPs"]?.array ?? []).enumerated() {
            let path = "spec.externalIPs[\(index)]"
            guard let address = value.string.flatMap({ IPAddress($0) }) else {
                errors.append(.invalid(path, value, EndpointRules.addressText))
                continue
            }
            if address.isUnspecified {
                errors.append(.invalid(path, value, "may not be unspecified (\(address))"))
            }
            if address.isLoopback {
                errors.append(
                    .invalid(
                        path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
            }
            if address.isLinkLocalUnicast {
                errors.append(
                    .invalid(
                        path, value,
                        "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
            }
        }
        return errors
    }

    // MARK: - Load balancers and traffic

    static let sourceRangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges"

    private static func validateLoadBalancer(
        _ object: JSONValue, _ spec: JSONValue, _ type: String
    ) -> [FieldError] {
        let onlyText = "may only be used when `type` is 'LoadBalancer'"
        let isBalanced = type == "LoadBalancer"
        var errors: [FieldError] = []
        let ranges = spec["loadBalancerSourceRanges"]?.array ?? []
        let annotated = object["metadata", "annotations"]?[sourceRangesAnnotation]?.string
        if !ranges.isEmpty {
            if !isBalanced { errors.append(.forbidden("spec.LoadBalancerSourceRanges", onlyText)) }
            for (index, range) in ranges.enumerated() where !isPrefix(range.string ?? "") {
                errors.append(
                    .invalid("spec.LoadBalancerSourceRanges[\(index)]", range, prefixText))
            }
        } else if let annotated, !trimmed(annotated).isEmpty {
            let path = "metadata.annotations[\(sourceRangesAnnotation)]"
            if !isBalanced {
                errors.append(.forbidden(path, onlyText))
            } else if !annotated.split(separator: ",").allSatisfy({ isPrefix(String($0)) }) {
                errors.append(
                    .invalid(
                        path, .string(annotated),
                        "must be a comma separated list of CIDRs e.g. "
                            + "192.168.0.0/16,10.0.0.0/8"))
            }
        }
        if !isBalanced, spec["allocateLoadBalancerNodePorts"] != nil {
            errors.append(.forbidden("spec.allocateLoadBalancerNodePorts", onlyText))
        }
        if let name = spec["loadBalancerClass"] {
            if !isBalanced { errors.append(.forbidden("spec.loadBalancerClass", onlyText)) }
            for fault in Names.qualifiedNameFaults(name.string ?? "") {
                errors.append(.invalid("spec.loadBalancerClass", name, fault))
            }
        }
        return errors
    }

    private static let prefixText =
        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

    private static func isPrefix(_ text: String) -> Bool { Prefix(trimmed(text)) != nil }

    private static func validateTraffic(_ spec: JSONValue, _ type: String) -> [FieldError] {
        var errors: [FieldError] = []
        let policies = ["Cluster", "Local"]
        let external = spec["externalTrafficPolicy"]
        if ServiceRules.isExternal(spec) {
            errors += supported(
                external, at: "spec.externalTrafficPolicy", policies, isRequired: true)
        } else if let external {
            errors.append(
                .invalid(
                    "spec.externalTrafficPolicy", external,
                    "may only be set for externally-accessible services"))
        }
        if let port = spec["healthCheckNodePort"], port != 0,
            !ServiceRules.needsHealthCheckPort(spec)
        {
            errors.append(
                .invalid(
                    "spec.healthCheckNodePort", port,
                    "may only be set when `type` is 'LoadBalancer' and "
                        + "`externalTrafficPolicy` is 'Local'"))
        }
        if type != "ExternalName" {
            errors += supported(
                spec["internalTrafficPolicy"], at: "spec.internalTrafficPolicy", policies,
                isRequired: true)
        }
        errors += supported(
            spec["trafficDistribution"], at: "spec.trafficDistribution",
            ["PreferClose", "PreferSameNode", "PreferSameZone"])
        return errors
    }

    // MARK: - Updates

    static func validateUpdate(old: JSONValue, new: JSONValue) -> [FieldError] {
        guard let before = old["spec"], let after = new["spec"] else { return [] }
        var errors: [FieldError] = []
        if ServiceRules.needsClusterIP(before), ServiceRules.needsClusterIP(after) {
            errors += validateAddressChange(before, after)
            errors += validateFamilyChange(before, after)
        }
        if before["type"] == "LoadBalancer", after["type"] == "LoadBalancer",
            before["loadBalancerClass"] != after["loadBalancerClass"]
        {
            errors.append(
                .invalid(
                    "spec.loadBalancerClass", after["loadBalancerClass"] ?? .null,
                    "may not change once set"))
        }
        if ServiceRules.needsHealthCheckPort(before), ServiceRules.needsHealthCheckPort(after),
            before["healthCheckNodePort"] != after["healthCheckNodePort"]
        {
            errors.append(
                .invalid(
                    "spec.healthCheckNodePort", after["healthCheckNodePort"] ?? 0,
                    "field is immutable"))
        }
        return errors
    }

    private static func validateAddressChange(
        _ before: JSONValue, _ after: JSONValue
    ) -> [FieldError] {
        let old = before["clusterIPs"]?.array ?? []
        let new = after["clusterIPs"]?.array ?? []
        guard !old.isEmpty else { return [] }
        guard !new.isEmpty else {
            return [
                .invalid("spec.clusterIPs[0]", .array(new), "primary clusterIP can not be unset")
            ]
        }
        var errors: [FieldError] = []
        if old[0] != new[0] {
            errors.append(
                .invalid("spec.clusterIPs[0]", .array(new), "may not change once set"))
        }
        guard old.count > 1 else { return errors }
        if new.count > 1, old[1] != new[1] {
            errors.append(
                .invalid("spec.clusterIPs[1]", .array(new), "may not change once set"))
        } else if new.count == 1, after["ipFamilyPolicy"] != "SingleStack" {
            errors.append(
                .invalid(
                    "spec.ipFamilyPolicy", after["ipFamilyPolicy"] ?? .null,
                    "must be set to 'SingleStack' when releasing the secondary clusterIP"))
        }
        return errors
    }

    private static func validateFamilyChange(
        _ before: JSONValue, _ after: JSONValue
    ) -> [FieldError] {
        // Headless services without a selector may change their families.
        if ServiceRules.isHeadless(before), (before["selector"]?.object ?? [:]).isEmpty {
            return []
        }
        guard let old = before["ipFamilies"]?[0], let new = after["ipFamilies"]?[0], old != new
        else { return [] }
        return [
            .invalid(
                "spec.ipFamilies[0]", after["ipFamilies"] ?? .null, "may not change once set")
        ]
    }
}
