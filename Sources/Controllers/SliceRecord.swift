import JSON
import KubernetesAPI
import NetworkTypes

/// An EndpointSlice as its controllers keep it: small, and whole enough to be written back.
struct SliceRecord: KubernetesObject, Hashable {
    var metadata: ObjectMeta
    var owners: [OwnerReference]
    var finalizers: [String]
    var addressType: String
    var ports: [SlicePort]
    var endpoints: [SliceEndpoint]

    init(json: JSONValue) throws {
        metadata = ObjectMeta(json: json)
        owners = OwnerReference.list(of: json)
        finalizers = Object(json: json).finalizers
        addressType = json["addressType"]?.string ?? ""
        guard Self.ownManagers.contains(metadata.labels[Self.managedByLabel] ?? "") else {
            // Nothing here reads what others keep in their slices.
            ports = []
            endpoints = []
            return
        }
        ports = (json["ports"]?.array ?? []).map(SlicePort.init(json:)).sorted()
        endpoints = (json["endpoints"]?.array ?? []).map(SliceEndpoint.init(json:))
    }

    private static let ownManagers: Set<String> = [
        EndpointSliceController.manager, MirroringController.manager, ClusterDNSController.manager,
    ]

    /// A slice that does not exist yet; the API server names it.
    init(metadata: ObjectMeta, addressType: String, ports: [SlicePort]) {
        self.metadata = metadata
        owners = []
        finalizers = []
        self.addressType = addressType
        self.ports = ports
        endpoints = []
    }

    /// The label that ties a slice to its Service.
    static let serviceNameLabel = "kubernetes.io/service-name"
    /// The label that says which controller keeps a slice.
    static let managedByLabel = "endpointslice.kubernetes.io/managed-by"

    /// Index entry of the slices of one Service.
    static func entry(_ service: ObjectKey) -> String { "service:\(service)" }

    /// Index entries: the Service's.
    var indexEntries: [String] {
        metadata.labels[Self.serviceNameLabel].map {
            [Self.entry(ObjectKey(namespace: metadata.namespace, name: $0))]
        } ?? []
    }

    /// The whole object; `generateName` where it has no name yet.
    func json(generateName: String) -> JSONValue {
        var meta: JSONValue = ["namespace": .string(metadata.namespace)]
        if metadata.name.isEmpty {
            meta["generateName"] = .string(generateName)
        } else {
            meta["name"] = .string(metadata.name)
            meta["generateName"] = .string(generateName)
            meta["uid"] = .string(metadata.uid)
            meta["resourceVersion"] = .string(metadata.resourceVersion)
        }
        meta["labels"] = JSONValue(metadata.labels)
        if !metadata.annotations.isEmpty { meta["annotations"] = JSONValue(metadata.annotations) }
        if !owners.isEmpty { meta["ownerReferences"] = .array(owners.map(\.json)) }
        if !finalizers.isEmpty {
            meta["finalizers"] = .array(finalizers.map(JSONValue.string))
        }
        return [
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta,
            "addressType": .string(addressType),
            "endpoints": .array(endpoints.map(\.json)),
            "ports": .array(ports.map(\.json)),
        ]
    }
}

/// One port of a slice.
struct SlicePort: Hashable, Sendable, Comparable {
    var name: String
    var transport: TransportProtocol
    var port: UInt16
    var appProtocol: String?

    init(name: String, transport: TransportProtocol, port: UInt16, appProtocol: String? = nil) {
        self.name = name
        self.transport = transport
        self.port = port
        self.appProtocol = appProtocol
    }

    init(json: JSONValue) {
        name = json["name"]?.string ?? ""
        transport = json["protocol"]?.string.flatMap(TransportProtocol.init(rawValue:)) ?? .tcp
        port = UInt16(clamping: json["port"]?.int ?? 0)
        appProtocol = json["appProtocol"]?.string
    }

    var json: JSONValue {
        var value: JSONValue = [
            "name": .string(name), "protocol": .string(transport.rawValue),
            "port": .integer(Int64(port)),
        ]
        if let appProtocol { value["appProtocol"] = .string(appProtocol) }
        return value
    }

    static func < (left: Self, right: Self) -> Bool {
        (left.name, left.port, left.transport, left.appProtocol ?? "")
            < (right.name, right.port, right.transport, right.appProtocol ?? "")
    }
}

/// One endpoint of a slice; the slices that these controllers write hold one address in each.
struct SliceEndpoint: Hashable, Sendable {
    var address: String
    var isReady: Bool
    /// nil where the writer leaves it open, as mirroring does.
    var isServing: Bool?
    var isTerminating: Bool?
    var hostname: String?
    var nodeName: String?
    var zone: String?
    var target: ObjectReferenceRecord?
    var zoneHints: [String] = []
    var nodeHints: [String] = []

    /// What `targetRef` holds.
    struct ObjectReferenceRecord: Hashable, Sendable {
        var kind: String
        var namespace: String
        var name: String
        var uid: String
    }

    /// What stays the same while an endpoint's conditions change.
    struct Identity: Hashable {
        var address: String
        var target: ObjectReferenceRecord?
    }

    var identity: Identity { Identity(address: address, target: target) }

    init(address: String, isReady: Bool) {
        self.address = address
        self.isReady = isReady
    }

    init(json: JSONValue) {
        address = json["addresses"]?[0]?.string ?? ""
        isReady = json["conditions", "ready"]?.bool ?? true
        isServing = json["conditions", "serving"]?.bool
        isTerminating = json["conditions", "terminating"]?.bool
        hostname = json["hostname"]?.string
        nodeName = json["nodeName"]?.string
        zone = json["zone"]?.string
        target = json["targetRef"].flatMap { reference in
            ObjectReferenceRecord(
                kind: reference["kind"]?.string ?? "",
                namespace: reference["namespace"]?.string ?? "",
                name: reference["name"]?.string ?? "", uid: reference["uid"]?.string ?? "")
        }
        zoneHints = (json["hints", "forZones"]?.array ?? []).compactMap { $0["name"]?.string }
        nodeHints = (json["hints", "forNodes"]?.array ?? []).compactMap { $0["name"]?.string }
    }

    var json: JSONValue {
        var conditions: JSONValue = ["ready": .bool(isReady)]
        if let isServing { conditions["serving"] = .bool(isServing) }
        if let isTerminating { conditions["terminating"] = .bool(isTerminating) }
        var value: JSONValue = ["addresses": [.string(address)], "conditions": conditions]
        if let hostname { value["hostname"] = .string(hostname) }
        if let target {
            var reference: JSONValue = ["kind": .string(target.kind)]
            if !target.namespace.isEmpty { reference["namespace"] = .string(target.namespace) }
            if !target.name.isEmpty { reference["name"] = .string(target.name) }
            if !target.uid.isEmpty { reference["uid"] = .string(target.uid) }
            value["targetRef"] = reference
        }
        if let nodeName { value["nodeName"] = .string(nodeName) }
        if let zone { value["zone"] = .string(zone) }
        if !zoneHints.isEmpty || !nodeHints.isEmpty {
            func named(_ names: [String]) -> JSONValue {
                .array(names.map { ["name": .string($0)] })
            }
            var hints: JSONValue = [:]
            if !zoneHints.isEmpty { hints["forZones"] = named(zoneHints) }
            if !nodeHints.isEmpty { hints["forNodes"] = named(nodeHints) }
            value["hints"] = hints
        }
        return value
    }
}
