import Glibc
public import Netlink
import NetworkTypes
import Synchronization

/// A network of namespaces for one test. Names begin with a random prefix, so tests run side by
/// side; everything is taken down in reverse order when the test ends, also by an error.
///
///     try NetworkFixture.run { network in
///         let client = try network.namespace("client")
///         let server = try network.namespace("server")
///         try network.connect(client, "10.0.0.1", server, "10.0.0.2", prefixLength: 24)
///         try client.check("ping", "-c1", "10.0.0.2")
///     }
public final class NetworkFixture: Sendable {
    /// What names of this test begin with: at most 7 bytes, so that link names stay short enough.
    public let prefix: String
    private let cleanUps = Mutex<[@Sendable () -> Void]>([])

    private init() {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        prefix = "t" + String((0..<5).map { _ in alphabet.randomElement() ?? "x" }) + "-"
    }

    deinit { cleanUp() }

    /// Runs a test with a network of its own.
    public static func run<Result>(
        _ body: (NetworkFixture) throws -> Result
    ) throws -> Result {
        try requireRoot()
        let fixture = NetworkFixture()
        defer { fixture.cleanUp() }
        return try body(fixture)
    }

    /// Runs a test with a network of its own.
    public static func run<Result>(
        _ body: (NetworkFixture) async throws -> Result
    ) async throws -> Result {
        try requireRoot()
        let fixture = NetworkFixture()
        defer { fixture.cleanUp() }
        return try await body(fixture)
    }

    /// Remembers what to undo; the last is undone first.
    public func onCleanUp(_ action: @escaping @Sendable () -> Void) {
        cleanUps.withLock { $0.append(action) }
    }

    /// Creates a namespace with `lo` up.
    public func namespace(_ name: String) throws -> TestNamespace {
        let fullName = prefix + name
        try NetworkNamespace.create(fullName)
        onCleanUp { try? NetworkNamespace.delete(fullName) }
        let namespace = TestNamespace(
            name: fullName, descriptor: try NetworkNamespace.open(fullName))
        try namespace.route().setUp("lo")
        return namespace
    }

    /// Joins two namespaces by a veth pair with an address at each end.
    /// - Parameter link: the name of both ends; give another where a namespace has several links.
    public func connect(
        _ left: TestNamespace, _ leftAddress: String, _ right: TestNamespace,
        _ rightAddress: String, prefixLength: Int, link: String = "eth0", peer: String? = nil
    ) throws {
        let peer = peer ?? link
        let leftRoute = try left.route()
        let rightRoute = try right.route()
        try leftRoute.createVeth(link, peer: peer, peerNamespace: right.descriptor)
        let ends = [(leftRoute, link, leftAddress), (rightRoute, peer, rightAddress)]
        for (route, name, text) in ends {
            guard let address = IPAddress(text) else {
                throw TestFailure("\(text) is not an address")
            }
            try route.addAddress(address, prefixLength: prefixLength, to: name)
            try route.setUp(name)
        }
    }

    /// Creates a bridge in a namespace and sets it up.
    public func bridge(_ name: String, in namespace: TestNamespace) throws {
        let route = try namespace.route()
        let link = try route.createBridge(name)
        try route.perform(.setUp(index: link.index))
    }

    /// Joins a namespace to a bridge by a veth pair; its own end is `link`, up, with the address.
    public func attach(
        _ namespace: TestNamespace, _ address: String, prefixLength: Int, to bridge: String,
        in owner: TestNamespace, link: String = "eth0"
    ) throws {
        let port = "p" + String(namespace.name.dropFirst(prefix.count)).prefix(14)
        let ownerRoute = try owner.route()
        let route = try namespace.route()
        let end = try ownerRoute.createVeth(
            String(port), peer: link, peerNamespace: namespace.descriptor)
        let master = try ownerRoute.requireLink(bridge)
        try ownerRoute.perform(.enslave(index: end.index, masterIndex: master.index))
        guard let parsed = IPAddress(address) else {
            throw TestFailure("\(address) is not an address")
        }
        try route.addAddress(parsed, prefixLength: prefixLength, to: link)
        try route.setUp(link)
    }

    private func cleanUp() {
        let actions = cleanUps.withLock { actions in
            defer { actions = [] }
            return actions
        }
        for action in actions.reversed() { action() }
    }

    private static func requireRoot() throws {
        guard geteuid() == 0 else {
            throw TestFailure("network tests need root; run them as root")
        }
    }
}

/// A namespace of a test.
public struct TestNamespace: Sendable {
    /// The full name, as `ip netns` shows it.
    public let name: String
    /// The open namespace.
    public let descriptor: NamespaceDescriptor

    /// Links, addresses and routes inside.
    public func route() throws -> RouteSocket { try RouteSocket(in: descriptor) }

    /// Runs a program inside to its end.
    public func run(
        _ arguments: String..., input: String = "", timeoutSeconds: Int = 30
    ) throws -> CommandResult {
        try Command.run(
            arguments, in: descriptor, input: input, timeoutSeconds: timeoutSeconds)
    }

    /// Runs a program inside that must succeed.
    @discardableResult
    public func check(
        _ arguments: String..., input: String = "", timeoutSeconds: Int = 30
    ) throws -> CommandResult {
        try Command.check(
            arguments, in: descriptor, input: input, timeoutSeconds: timeoutSeconds)
    }

    /// Starts a program inside; it is killed when the returned object goes.
    public func start(_ arguments: String...) throws -> RunningCommand {
        try RunningCommand(arguments, in: descriptor)
    }

    /// Runs code on a thread of its own inside; sockets it opens stay inside.
    public func withThread<Result>(_ body: @escaping () throws -> Result) throws -> Result {
        try NetworkNamespace.withThread(in: descriptor, body)
    }

    /// Sets a kernel parameter inside: `net/ipv4/ip_forward`.
    public func sysctl(_ path: String, _ value: String) throws {
        try withThread { try Sysctl.write(path, value) }
    }

    /// Adds a route inside, to a prefix or a default route.
    public func addRoute(to prefix: String, via gateway: String) throws {
        guard let destination = Prefix(prefix), let address = IPAddress(gateway) else {
            throw TestFailure("\(prefix) via \(gateway) is not a route")
        }
        try route().perform(.addRoute(Route(to: destination, via: address), isReplacing: true))
    }
}
