public import JSON
public import NetworkTypes

/// The objects in which the API keeps what addresses Services have (KEP-1880). Portolan allocates
/// from memory; an IPAddress is written with its Service, so that tools that read it see the truth
/// and no address is given twice.
public enum ServiceAddressObjects {
    /// Keeps a ServiceCIDR while addresses of it are in use.
    public static let finalizer = "networking.k8s.io/service-cidr-finalizer"
    /// The ServiceCIDR of the ranges the server was started with.
    public static let defaultName = "kubernetes"
    /// The value of `managedByLabel` on IPAddresses that are made with their Services.
    public static let manager = "ipallocator.k8s.io"
    /// Who looks after an IPAddress.
    public static let managedByLabel = "ipaddress.kubernetes.io/managed-by"

    /// The ServiceCIDR `kubernetes` of the ranges the server was started with.
    public static func defaultServiceCIDR(_ ranges: [Prefix]) -> JSONValue {
        [
            "apiVersion": .string(Resource.serviceCIDRs.apiVersion), "kind": "ServiceCIDR",
            "metadata": ["name": .string(defaultName)],
            "spec": ["cidrs": .array(ranges.map { .string($0.description) })],
        ]
    }

    /// Sets the finalizer and the condition Ready of a ServiceCIDR that is written: True at once,
    /// False once it is being deleted. A condition that holds already keeps its time.
    public static func settle(_ object: inout JSONValue, now: Timestamp) {
        let isTerminating = object["metadata", "deletionTimestamp"] != nil
        if !isTerminating {
            var finalizers = object["metadata", "finalizers"]?.array ?? []
            if !finalizers.contains(.string(finalizer)) { finalizers.append(.string(finalizer)) }
            object["metadata", "finalizers"] = .array(finalizers)
        }
        let conditions = object["status", "conditions"]?.array ?? []
        let status: JSONValue = isTerminating ? "False" : "True"
        let held = conditions.first { $0["type"] == "Ready" }
        guard held?["status"] != status else { return }
        let message =
            isTerminating
            ? "There are still IPAddresses referencing the ServiceCIDR, please remove them or "
                + "create a new ServiceCIDR"
            : "Kubernetes Service CIDR is ready"
        let ready: JSONValue = [
            "type": "Ready", "status": status,
            "reason": .string(isTerminating ? "Terminating" : ""), "message": .string(message),
            "lastTransitionTime": .string(now.description),
        ]
        object["status", "conditions"] = .array(
            conditions.filter { $0["type"] != "Ready" } + [ready])
    }

    /// The IPAddress of one cluster address of a Service.
    public static func ipAddress(_ address: IPAddress, of service: ObjectKey) -> JSONValue {
        [
            "apiVersion": .string(Resource.ipAddresses.apiVersion), "kind": "IPAddress",
            "metadata": [
                "name": .string(address.description),
                "labels": [
                    "ipaddress.kubernetes.io/ip-family": .string(address.family.rawValue),
                    managedByLabel: .string(manager),
                ],
            ],
            "spec": [
                "parentRef": [
                    "group": "", "resource": "services",
                    "namespace": .string(service.namespace), "name": .string(service.name),
                ]
            ],
        ]
    }

    /// The ranges of ServiceCIDR objects that new addresses may come from: those that are
    /// not being deleted, the default one first.
    public static func usableRanges(_ serviceCIDRs: [JSONValue]) -> [Prefix] {
        let usable = serviceCIDRs.filter { object in
            object["metadata", "deletionTimestamp"] == nil
        }
        let isDefault: (JSONValue) -> Bool = { $0["metadata", "name"] == .string(defaultName) }
        let sorted = usable.filter(isDefault) + usable.filter { !isDefault($0) }
        return sorted.flatMap(ranges)
    }

    /// The ranges of one ServiceCIDR.
    public static func ranges(_ serviceCIDR: JSONValue) -> [Prefix] {
        (serviceCIDR["spec", "cidrs"]?.array ?? []).compactMap { $0.string.flatMap { Prefix($0) } }
    }
}
