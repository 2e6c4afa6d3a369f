import NetworkTypes

/// What names a kind allows.
public enum NameRule: Hashable, Sendable {
    /// An RFC 1123 label, up to 63 characters.
    case label
    /// An RFC 1123 subdomain, up to 253 characters.
    case subdomain
    /// Anything that can be one segment of a path (RBAC kinds).
    case pathSegment
    /// The canonical text of an address.
    case address

    /// Why `name` is none; empty where it is sound.
    public func faults(of name: String) -> [String] {
        switch self {
        case .label: Names.labelFaults(name)
        case .subdomain: Names.subdomainFaults(name)
        case .pathSegment: Names.pathSegmentFaults(name)
        case .address: Names.addressFaults(name)
        }
    }
}

/// Checks of names and labels, with apimachinery's messages (util/validation).
public enum Names {
    static let labelText =
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        + "and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
        + "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    static let subdomainText =
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' "
        + "or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
        + "regex used for validation is "
        + #"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#
    static let qualifiedNameText =
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
        + "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
        + "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    static let labelValueText =
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' "
        + "or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
        + "'my_value',  or '12345', regex used for validation is "
        + "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

    /// Why `name` is no RFC 1123 label.
    public static func labelFaults(_ name: String) -> [String] {
        var faults = lengthFaults(name, 63)
        if !isLabel(name.utf8) { faults.append(labelText) }
        return faults
    }

    /// Why `name` is no RFC 1123 subdomain.
    public static func subdomainFaults(_ name: String) -> [String] {
        var faults = lengthFaults(name, 253)
        if !isSubdomain(name) { faults.append(subdomainText) }
        return faults
    }

    /// Why `name` is no port name (RFC 6335).
    public static func portNameFaults(_ name: String) -> [String] {
        var faults: [String] = []
        if name.utf8.count > 15 { faults.append("must be no more than 15 characters") }
        if !name.utf8.allSatisfy({ isLowerAlphanumeric($0) || $0 == UInt8(ascii: "-") }) {
            faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
        }
        if !name.utf8.contains(where: { (97...122).contains($0) }) {
            faults.append("must contain at least one letter (a-z)")
        }
        if name.contains("--") { faults.append("must not contain consecutive hyphens") }
        if name.hasPrefix("-") || name.hasSuffix("-") {
            faults.append("must not begin or end with a hyphen")
        }
        return faults
    }

    /// Why `name` is no qualified name, such as `example.com/name`: keys of labels.
    public static func qualifiedNameFaults(_ name: String) -> [String] {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        var faults: [String] = []
        switch parts.count {
        case 1: break
        case 2:
            if parts[0].isEmpty {
                faults.append("prefix part must be non-empty")
            } else {
                faults += subdomainFaults(String(parts[0])).map { "prefix part " + $0 }
            }
        default:
            return [
                "a qualified name " + qualifiedNameText
                    + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ]
        }
        let last = parts[parts.count - 1]
        if last.isEmpty {
            faults.append("name part must be non-empty")
        } else if last.utf8.count > 63 {
            faults.append("name part must be no more than 63 bytes")
        }
        if !isLabelText(last.utf8) { faults.append("name part " + qualifiedNameText) }
        return faults
    }

    /// Why `value` is no value of a label.
    public static func labelValueFaults(_ value: String) -> [String] {
        var faults = lengthFaults(value, 63)
        if !value.isEmpty, !isLabelText(value.utf8) { faults.append(labelValueText) }
        return faults
    }

    static func pathSegmentFaults(_ name: String) -> [String] {
        if name == "." || name == ".." { return ["may not be '\(name)'"] }
        return ["/", "%"].filter { name.contains($0) }.map { "may not contain '\($0)'" }
    }

    static func addressFaults(_ name: String) -> [String] {
        guard let address = IPAddress(name) else {
            return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
        }
        return address.description == name
            ? [] : ["must be in canonical form (\"\(address)\")"]
    }

    // MARK: - Characters

    private static func lengthFaults(_ text: String, _ limit: Int) -> [String] {
        text.utf8.count > limit ? ["must be no more than \(limit) bytes"] : []
    }

    private static func isLabel(_ bytes: some BidirectionalCollection<UInt8>) -> Bool {
        guard let first = bytes.first, let last = bytes.last else { return false }
        return isLowerAlphanumeric(first) && isLowerAlphanumeric(last)
            && bytes.allSatisfy { isLowerAlphanumeric($0) || $0 == UInt8(ascii: "-") }
    }

    static func isSubdomain(_ text: some StringProtocol) -> Bool {
        text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
            .allSatisfy { isLabel($0) }
    }

    private static func isLabelText(_ bytes: some BidirectionalCollection<UInt8>) -> Bool {
        guard let first = bytes.first, let last = bytes.last else { return false }
        return isAlphanumeric(first) && isAlphanumeric(last)
            && bytes.allSatisfy {
                isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
                    || $0 == UInt8(ascii: ".")
            }
    }

    private static func isLowerAlphanumeric(_ byte: UInt8) -> Bool {
        (97...122).contains(byte) || (48...57).contains(byte)
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        isLowerAlphanumeric(byte) || (65...90).contains(byte)
    }
}
