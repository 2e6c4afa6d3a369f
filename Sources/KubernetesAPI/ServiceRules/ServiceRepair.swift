public import JSON
public import NetworkTypes

/// Finds where Services and IPAddress objects disagree, and where addresses and ports lie outside
/// their ranges or are there twice (Kubernetes' repair controllers). Pure; what to do about a fault
/// is the registry's work.
public struct ServiceRepair: Sendable {
    /// Where addresses may lie.
    public var ranges: [Prefix]
    /// Where node ports may lie.
    public var nodePortRange: ClosedRange<Int>

    /// Makes a repair with the ranges of the cluster.
    public init(ranges: [Prefix], nodePortRange: ClosedRange<Int>) {
        self.ranges = ranges
        self.nodePortRange = nodePortRange
    }

    /// One fault with the Service concerned.
    public struct Fault: Hashable, Sendable {
        /// What is wrong.
        public enum Kind: String, Hashable, Sendable, CaseIterable {
            /// A Service's address has no IPAddress.
            case missing
            /// An IPAddress stands for a Service that does not have it.
            case leaked
            /// The IPAddress of a Service's address names another owner.
            case wrongReference = "wrong_reference"
            /// A Service's address lies in no ServiceCIDR.
            case addressOutOfRange = "address_out_of_range"
            /// Two Services have one address.
            case addressDuplicate = "address_duplicate"
            /// A node port lies outside its range.
            case portOutOfRange = "port_out_of_range"
            /// Two Services have one node port.
            case portDuplicate = "port_duplicate"
        }

        /// What is wrong.
        public var kind: Kind
        /// The Service concerned, or the one that an IPAddress names.
        public var service: ObjectKey
        /// The address or port.
        public var value: String
    }

    /// Every fault, in the order of the objects.
    public func faults(services: [JSONValue], addresses: [JSONValue]) -> [Fault] {
        var owners: [IPAddress: ObjectKey] = [:]
        var portOwners: [Int: ObjectKey] = [:]
        var faults: [Fault] = []
        for service in services {
            let key = ObjectMeta(json: service).key
            let spec = service["spec"] ?? [:]
            for address in ServiceAllocator.addresses(of: spec).sorted() {
                if owners[address] != nil {
                    faults.append(Fault(.addressDuplicate, key, address))
                    continue
                }
                owners[address] = key
                if !ranges.contains(where: { $0.contains(address) }) {
                    faults.append(Fault(.addressOutOfRange, key, address))
                }
            }
            for port in ServiceAllocator.ports(of: spec).sorted() {
                if portOwners.updateValue(key, forKey: port) != nil {
                    faults.append(Fault(.portDuplicate, key, port))
                } else if !nodePortRange.contains(port) {
                    faults.append(Fault(.portOutOfRange, key, port))
                }
            }
        }
        return faults + addressFaults(owners, addresses)
    }

    private func addressFaults(
        _ owners: [IPAddress: ObjectKey], _ objects: [JSONValue]
    ) -> [Fault] {
        var faults: [Fault] = []
        var missing = owners
        for object in objects {
            let name = object["metadata", "name"]?.string ?? ""
            guard let address = IPAddress(name) else { continue }
            if let owner = missing.removeValue(forKey: address) {
                if !Self.refers(object, to: owner) {
                    faults.append(Fault(.wrongReference, owner, address))
                }
            } else if Self.isManaged(object), owners[address] == nil {
                faults.append(Fault(.leaked, Self.parent(of: object), address))
            }
        }
        for (address, owner) in missing.sorted(by: { $0.key < $1.key })
        where ranges.contains(where: { $0.contains(address) }) {
            faults.append(Fault(.missing, owner, address))
        }
        return faults
    }

    /// True where the IPAddress stands for this Service.
    public static func refers(_ object: JSONValue, to service: ObjectKey) -> Bool {
        object["spec", "parentRef", "resource"] == "services" && parent(of: object) == service
    }

    /// True where the IPAddress was made with a Service, not by somebody else.
    public static func isManaged(_ object: JSONValue) -> Bool {
        object["metadata", "labels"]?[ServiceAddressObjects.managedByLabel]
            == .string(ServiceAddressObjects.manager)
    }

    private static func parent(of object: JSONValue) -> ObjectKey {
        let parent = object["spec", "parentRef"]
        return ObjectKey(
            namespace: parent?["namespace"]?.string ?? "", name: parent?["name"]?.string ?? "")
    }
}

extension ServiceRepair.Fault {
    init(_ kind: Kind, _ service: ObjectKey, _ value: some CustomStringConvertible) {
        self.kind = kind
        self.service = service
        self.value = value.description
    }

    /// The reason and message of the event about it, in Kubernetes' words.
    public var event: (reason: String, message: String) {
        let family = value.contains(":") ? "IPv6" : "IPv4"
        let place = "\(service.namespace)/\(service.name)"
        return switch kind {
        case .missing:
            (
                "ClusterIPNotAllocated",
                "Cluster IP [\(family)]: \(value) is not allocated; repairing"
            )
        case .leaked:
            (
                "IPAddressNotAllocated",
                "IPAddress: \(value) for Service \(place) appears to have leaked: cleaning up"
            )
        case .wrongReference:
            (
                "IPAddressWrongReference",
                "IPAddress: \(value) for Service \(place) has a wrong reference; cleaning up"
            )
        case .addressOutOfRange:
            (
                "ClusterIPOutOfRange",
                "Cluster IP [\(family)]: \(value) is not within any configured Service CIDR; "
                    + "please recreate service"
            )
        case .addressDuplicate:
            (
                "ClusterIPAlreadyAllocated",
                "Cluster IP [\(family)]: \(value) was assigned to multiple services; please "
                    + "recreate service"
            )
        case .portOutOfRange:
            (
                "PortOutOfRange",
                "Port \(value) is not within the port range; please recreate service"
            )
        case .portDuplicate:
            (
                "PortAlreadyAllocated",
                "Port \(value) was assigned to multiple services; please recreate service"
            )
        }
    }
}
