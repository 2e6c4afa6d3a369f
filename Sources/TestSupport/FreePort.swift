import Glibc
import Synchronization

/// Ports given out in this process; each is given once.
private let givenPorts = Mutex<Set<UInt16>>([])

/// A port of 127.0.0.1 that is free in UDP and in TCP, for a program that must be told its port.
///
/// It lies below the range from which the kernel takes ports for sockets that ask for none
/// (`net.ipv4.ip_local_port_range`, 32768 and up) and below the node ports, so that nothing else
/// comes upon it between this answer and the program's start.
/// - Throws: where none is found in a bounded number of tries.
public func freePort() throws -> UInt16 {
    for _ in 0..<1000 {
        let port = UInt16.random(in: 10_000..<30_000)
        guard givenPorts.withLock({ $0.insert(port).inserted }) else { continue }
        if isFree(port, SOCK_DGRAM), isFree(port, SOCK_STREAM) { return port }
    }
    throw TestFailure("no free port between 10000 and 29999")
}

private func isFree(_ port: UInt16, _ type: __socket_type) -> Bool {
    let descriptor = socket(AF_INET, Int32(type.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return withUnsafePointer(to: &name) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
}
