import CLinux
import Glibc
import NFTables
import Netlink
import NetworkTypes

/// What must hold before `up` touches the machine. Facts are gathered at the rim; the judgement is
/// a pure function that tests call with facts of their own.
struct Preflight: Sendable {
    /// What was found on the machine.
    struct Facts: Sendable {
        var isRoot: Bool
        var kernelRelease: String
        /// Tools that were looked for in PATH and not found.
        var missingTools: [String]
        /// The message of the kernel's refusal to speak nf_tables; nil where it does.
        var nftablesFailure: String?
        /// The message of the failed bind; nil where the port is free.
        var apiPortFailure: String?
        /// Networks of the machine's links and routes, but for those of this cluster.
        var networks: [(prefix: Prefix, link: String)]
    }

    /// Each tool with the Debian package that has it.
    static let tools = [("runc", "runc"), ("conmon", "conmon"), ("ip", "iproute2")]
    /// The oldest kernel whose nf_tables has all that the proxy uses.
    static let minimumKernel = (major: 5, minor: 13)

    /// The first reason not to go on, as one line with its remedy; nil where all is well.
    static func problem(_ facts: Facts, _ topology: Topology) -> String? {
        if !facts.isRoot { return "portolan up must run as root: try sudo portolan up" }
        let version = facts.kernelRelease.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        if version.count == 2, (version[0], version[1]) < (minimumKernel.major, minimumKernel.minor)
        {
            return "kernel \(facts.kernelRelease) is too old: Portolan needs "
                + "\(minimumKernel.major).\(minimumKernel.minor) or newer"
        }
        if let tool = facts.missingTools.first {
            let package = tools.first { $0.0 == tool }?.1 ?? tool
            return "\(tool) is not installed: try apt-get install \(package)"
        }
        if let failure = facts.nftablesFailure {
            return "this kernel has no nftables (\(failure)): load the module nf_tables, "
                + "or boot a kernel with CONFIG_NF_TABLES"
        }
        for (prefix, link) in facts.networks {
            let ranges = [
                ("--lan-cidr", topology.lan), ("--pod-cidr", topology.pods),
                ("--service-cluster-ip-range", topology.services),
            ]
            for (flag, range) in ranges where prefix.overlaps(range) {
                return "\(flag) \(range) overlaps \(prefix), which this machine has on \(link): "
                    + "choose another range with \(flag)"
            }
        }
        if let failure = facts.apiPortFailure {
            return "port \(topology.apiPort) cannot be used (\(failure)): stop what listens there, "
                + "or choose another with --api-port"
        }
        return nil
    }

    /// Looks at the machine.
    static func gather(_ topology: Topology) throws -> Facts {
        var name = utsname()
        uname(&name)
        let release = withUnsafeBytes(of: name.release) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        let isRoot = geteuid() == 0
        return Facts(
            isRoot: isRoot, kernelRelease: release,
            missingTools: tools.map(\.0).filter { findInPath($0) == nil },
            nftablesFailure: isRoot ? nftablesFailure() : nil,
            apiPortFailure: bindFailure(port: topology.apiPort),
            networks: isRoot ? try networks(besides: topology) : [])
    }

    /// The path of a program in PATH, with the directories of root's added; nil where there is none.
    static func findInPath(_ program: String) -> String? {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        let directories = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"]
        return directories.map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
    }

    private static func nftablesFailure() -> String? {
        do {
            _ = try NFTablesKernel().tables()
            return nil
        } catch {
            return "\(error)"
        }
    }

    private static func bindFailure(port: UInt16) -> String? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return String(cString: strerror(errno)) }
        defer { close(descriptor) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return result == 0 ? nil : String(cString: strerror(errno))
    }

    private static func networks(besides topology: Topology) throws -> [(
        prefix: Prefix, link: String
    )] {
        let socket = try RouteSocket()
        let names = Dictionary(uniqueKeysWithValues: try socket.links().map { ($0.index, $0.name) })
        let addresses = try socket.addresses().compactMap { address in
            Prefix(address.address, length: address.prefixLength).map { ($0, address.linkIndex) }
        }
        let routes = try socket.routes(.ipv4)
            .filter { $0.destination.length > 0 && $0.table == Route.mainTable }
            .compactMap { route in route.linkIndex.map { (route.destination, $0) } }
        return (addresses + routes).compactMap { prefix, index in
            let link = names[index] ?? "link \(index)"
            return link == topology.machineLink ? nil : (prefix, link)
        }
    }
}
