import BPF
public import Netlink
import NetworkTypes

/// What the fast path of a node holds, looked up in its kernel for a trace.
public struct FastPathTables: Sendable {
    private let maps: [String: BPFMap]

    /// Opens the maps of the node whose namespace that is; nil where it has no fast path.
    /// - Parameter name: the name of the proxy's tables.
    public init?(named name: String, in namespace: NamespaceDescriptor) throws {
        maps = try FastPath.mapsLeft(
            FastPath.classifierName(name), RouteSocket(in: namespace))
        guard !maps.isEmpty else { return nil }
    }

    /// The endpoints that a pod's connection to a Service may be led to; none where the rules
    /// serve it.
    func endpoints(from pod: IPAddress, to address: IPAddress, _ port: UInt16) throws -> [Backend] {
        let layout = FastPathLayout(family: address.family)
        guard pod.family == address.family,
            try maps[layout.pods.name]?.value(of: pod.networkBytes) != nil,
            let services = maps[layout.services(0).name],
            let head = try services.value(of: layout.headKey(address, port))
        else { return [] }
        let count = head.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
        return try (0..<min(count, UInt32(FastPathLayout.headSlot))).compactMap { slot in
            let key = layout.serviceKey(address, port, slot: UInt16(slot))
            guard let value = try services.value(of: key),
                let address = IPAddress(networkBytes: value[..<layout.addressSize])
            else { return nil }
            let port = value[layout.addressSize...].prefix(2).reduce(0) { $0 << 8 | UInt16($1) }
            return Backend(address: address, port: port)
        }
    }
}
