public import NetworkTypes

/// A namespace and a name.
public struct ServiceKey: Hashable, Sendable, CustomStringConvertible {
    /// The namespace.
    public let namespace: String
    /// The name within the namespace.
    public let name: String

    /// Makes a key.
    public init(namespace: String, name: String) {
        self.namespace = namespace
        self.name = name
    }

    /// `namespace/name`, as Kubernetes logs keys.
    public var description: String { namespace + "/" + name }
}

/// What DNS needs to know of a Service and its EndpointSlices.
public struct ServiceRecordInput: Equatable, Sendable {
    /// The namespace.
    public var namespace: String
    /// The Service's name.
    public var name: String
    /// `spec.clusterIPs`, without "None".
    public var clusterIPs: [IPAddress]
    /// Whether the Service has `clusterIP: None`.
    public var isHeadless: Bool
    /// `spec.ports`.
    public var ports: [Port]
    /// `spec.externalName` of a Service of type ExternalName.
    public var externalName: String?
    /// The endpoints of all its slices.
    public var endpoints: [Endpoint]
    /// `spec.publishNotReadyAddresses`: endpoints count as ready whatever their condition.
    public var publishNotReadyAddresses: Bool

    /// A port of a Service or of an EndpointSlice.
    public struct Port: Hashable, Sendable {
        /// The name; empty for an unnamed port, which has no SRV record.
        public var name: String
        /// The protocol.
        public var transport: TransportProtocol
        /// The number, 1–65535.
        public var port: UInt16

        /// Makes a port.
        public init(name: String, transport: TransportProtocol, port: UInt16) {
            self.name = name
            self.transport = transport
            self.port = port
        }
    }

    /// One endpoint of an EndpointSlice.
    public struct Endpoint: Equatable, Sendable {
        /// Its addresses, all of one family.
        public var addresses: [IPAddress]
        /// `hostname`, where the pod asked for one.
        public var hostname: String?
        /// `conditions.ready`; nil reads as true.
        public var isReady: Bool
        /// The slice's ports.
        public var ports: [Port]

        /// Makes an endpoint.
        public init(
            addresses: [IPAddress], hostname: String? = nil, isReady: Bool = true,
            ports: [Port] = []
        ) {
            self.addresses = addresses
            self.hostname = hostname
            self.isReady = isReady
            self.ports = ports
        }
    }

    /// Makes an input; what is left out is empty.
    public init(
        namespace: String, name: String, clusterIPs: [IPAddress] = [], isHeadless: Bool = false,
        ports: [Port] = [], externalName: String? = nil, endpoints: [Endpoint] = [],
        publishNotReadyAddresses: Bool = false
    ) {
        self.namespace = namespace
        self.name = name
        self.clusterIPs = clusterIPs
        self.isHeadless = isHeadless
        self.ports = ports
        self.externalName = externalName
        self.endpoints = endpoints
        self.publishNotReadyAddresses = publishNotReadyAddresses
    }

    /// The Service's key.
    public var key: ServiceKey { ServiceKey(namespace: namespace, name: name) }

    /// The endpoints that DNS shows.
    public var readyEndpoints: [Endpoint] {
        endpoints.filter { $0.isReady || publishNotReadyAddresses }
    }
}

/// A PTR record that a Service gives to an address.
struct ReverseRecord {
    var address: IPAddress
    var target: DNSName
    /// Whether the target is a name somebody chose; those hide the dashed addresses.
    var isChosen: Bool
}

/// The names of one Service with their records (Kubernetes DNS specification 1.1.0, sections 2.3
/// to 2.5). A pure function of the input; names too long for DNS are left out.
struct ServiceRecords {
    private(set) var names: [NameRecords] = []
    private(set) var reverse: [ReverseRecord] = []
    private let timeToLiveSeconds: UInt32
    private let input: ServiceRecordInput
    private let base: DNSName

    /// Renders `input` below `zone`.
    init(_ input: ServiceRecordInput, zone: DNSName, timeToLiveSeconds: UInt32) {
        self.input = input
        self.timeToLiveSeconds = timeToLiveSeconds
        guard let base = DNSName(labels: [input.name, input.namespace, "svc"], parent: zone) else {
            self.base = zone
            return
        }
        self.base = base
        if let externalName = input.externalName {
            addExternalName(externalName)
        } else if input.isHeadless {
            addHeadless()
        } else {
            addClusterIP()
        }
    }

    // MARK: - Kinds of Service

    private mutating func addExternalName(_ text: String) {
        // An address as externalName is not resolved: the documentation of Service says so.
        guard IPAddress(text) == nil, let target = DNSName(text), target != .root else { return }
        names.append(
            NameRecords(
                name: base, flags: .alias,
                sets: [
                    RecordSet(
                        type: .cname, timeToLiveSeconds: timeToLiveSeconds, data: [target.wire])
                ]))
    }

    private mutating func addClusterIP() {
        guard !input.clusterIPs.isEmpty else { return }
        names.append(NameRecords(name: base, sets: addressSets(input.clusterIPs)))
        var targets = ServiceTargets(base)
        for port in input.ports { targets.add(port, base, input.clusterIPs) }
        addServices(targets)
        for address in input.clusterIPs {
            reverse.append(ReverseRecord(address: address, target: base, isChosen: true))
        }
        for host in hosts() {
            names.append(NameRecords(name: host.name, sets: addressSets(host.addresses)))
            guard host.isChosen else { continue }
            for address in host.addresses {
                reverse.append(ReverseRecord(address: address, target: host.name, isChosen: true))
            }
        }
    }

    private mutating func addHeadless() {
        let hosts = hosts()
        let addresses = hosts.flatMap(\.addresses)
        guard !addresses.isEmpty else { return }
        names.append(NameRecords(name: base, sets: addressSets(unique(addresses))))
        var targets = ServiceTargets(base)
        for host in hosts {
            names.append(NameRecords(name: host.name, sets: addressSets(host.addresses)))
            for address in host.addresses {
                reverse.append(
                    ReverseRecord(
                        address: address, target: host.name, isChosen: host.isChosen))
            }
            for port in host.ports { targets.add(port, host.name, host.addresses) }
        }
        addServices(targets)
    }

    // MARK: - Parts

    private struct Host {
        var name: DNSName
        var addresses: [IPAddress]
        var ports: [ServiceRecordInput.Port]
        var isChosen: Bool
    }

    /// The ready endpoints by host name; several endpoints may share one (a pod with an address
    /// in each family is in two slices).
    private func hosts() -> [Host] {
        var result: [Host] = []
        var indexes: [DNSName: Int] = [:]
        for endpoint in input.readyEndpoints {
            for address in endpoint.addresses {
                let chosen = endpoint.hostname.flatMap { $0.isEmpty ? nil : $0 }
                let label = chosen ?? Self.dashed(address)
                guard let name = DNSName(labels: [label], parent: base)?.lowercased else {
                    continue
                }
                if let index = indexes[name] {
                    if !result[index].addresses.contains(address) {
                        result[index].addresses.append(address)
                    }
                    for port in endpoint.ports where !result[index].ports.contains(port) {
                        result[index].ports.append(port)
                    }
                } else {
                    indexes[name] = result.count
                    result.append(
                        Host(
                            name: name, addresses: [address], ports: endpoint.ports,
                            isChosen: chosen != nil))
                }
            }
        }
        return result
    }

    /// The address as a label: separators become dashes; `::1` becomes `--1`.
    static func dashed(_ address: IPAddress) -> String {
        String(address.description.map { $0 == "." || $0 == ":" ? "-" : $0 })
    }

    private func addressSets(_ addresses: [IPAddress]) -> [RecordSet] {
        if addresses.count == 1, let address = addresses.first {
            return [
                RecordSet(
                    type: address.family == .ipv4 ? .a : .aaaa,
                    timeToLiveSeconds: timeToLiveSeconds, data: [address.networkBytes])
            ]
        }
        var sets: [RecordSet] = []
        for (family, type) in [(IPAddress.Family.ipv4, RecordType.a), (.ipv6, .aaaa)] {
            let data = addresses.filter { $0.family == family }.map(\.networkBytes)
            guard !data.isEmpty else { continue }
            sets.append(
                RecordSet(type: type, timeToLiveSeconds: timeToLiveSeconds, data: data))
        }
        return sets
    }

    private mutating func addServices(_ targets: ServiceTargets) {
        var protocols: Set<DNSName> = []
        for service in targets.services {
            let weight = UInt16(max(1, 100 / service.targets.count))
            let data = service.targets.map { port, target in
                var bytes: [UInt8] = []
                bytes.reserveCapacity(6 + target.wire.count)
                bytes.append16(0)
                bytes.append16(weight)
                bytes.append16(port)
                bytes += target.wire
                return bytes
            }
            names.append(
                NameRecords(
                    name: service.name,
                    sets: [
                        RecordSet(
                            type: .srv, timeToLiveSeconds: timeToLiveSeconds, data: data,
                            additionals: service.addresses, targetOffset: 6)
                    ]))
            protocols.insert(service.name.parent)
        }
        // `_tcp.<service>` exists without records of its own (RFC 8020).
        for name in protocols { names.append(NameRecords(name: name)) }
    }

    private func unique<Element: Hashable>(_ elements: [Element]) -> [Element] {
        var seen: Set<Element> = []
        return elements.filter { seen.insert($0).inserted }
    }
}

/// The targets of each `_port._proto.<service>`, in the order in which they come.
private struct ServiceTargets {
    struct Service {
        let name: DNSName
        var targets: [(port: UInt16, name: DNSName)] = []
        var addresses: [AdditionalAddress] = []
    }

    private let base: DNSName
    private(set) var services: [Service] = []
    /// Which entry a port belongs to; nil for a port without a name, which has no record. There
    /// are few ports, and many endpoints that have the same ones.
    private var known: [(port: ServiceRecordInput.Port, index: Int?)] = []

    init(_ base: DNSName) { self.base = base }

    /// Adds a target with its addresses, which are shown once for each name.
    mutating func add(
        _ port: ServiceRecordInput.Port, _ target: DNSName, _ addresses: [IPAddress]
    ) {
        guard let index = index(of: port) else { return }
        let record = services[index].targets.count
        let isRepeated = services[index].targets.last?.name == target
        services[index].targets.append((port.port, target))
        if isRepeated { return }
        for address in addresses {
            services[index].addresses.append(AdditionalAddress(record: record, address: address))
        }
    }

    private mutating func index(of port: ServiceRecordInput.Port) -> Int? {
        if let entry = known.first(where: { $0.port == port }) { return entry.index }
        let index = makeIndex(port)
        known.append((port, index))
        return index
    }

    private mutating func makeIndex(_ port: ServiceRecordInput.Port) -> Int? {
        let labels = ["_" + port.name, "_" + port.transport.rawValue.lowercased()]
        guard !port.name.isEmpty, let name = DNSName(labels: labels, parent: base) else {
            return nil
        }
        if let index = services.firstIndex(where: { $0.name == name }) { return index }
        services.append(Service(name: name))
        return services.count - 1
    }
}
