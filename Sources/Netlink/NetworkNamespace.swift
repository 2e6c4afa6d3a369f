import CLinux
import Glibc

/// An open network namespace. It lives at least as long as this object.
public final class NamespaceDescriptor: Sendable {
    /// The descriptor; closed when this object goes.
    public let rawValue: Int32

    /// Takes ownership of a descriptor.
    public init(owning rawValue: Int32) { self.rawValue = rawValue }

    deinit { close(rawValue) }
}

/// Named network namespaces, kept where iproute2 keeps them, so that `ip netns` sees them.
public enum NetworkNamespace {
    /// The directory of the bind mounts.
    public static let directory = "/run/netns"

    /// Creates a namespace. Its `lo` is down.
    /// - Throws: `NetlinkError`, EEXIST where the name is taken.
    public static func create(_ name: String) throws {
        let path = try path(name)
        try prepareDirectory()
        let file = Glibc.open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0)
        guard file >= 0 else {
            throw NetlinkError(currentErrorFor: "create network namespace \(name)")
        }
        close(file)
        do {
            try runOnThread {
                guard portolan_unshare(PORTOLAN_CLONE_NEWNET) == 0 else {
                    throw NetlinkError(currentErrorFor: "create network namespace \(name)")
                }
                let result = portolan_mount(
                    "/proc/thread-self/ns/net", path, "none", PORTOLAN_MS_BIND, nil)
                guard result == 0 else {
                    throw NetlinkError(currentErrorFor: "mount network namespace \(name)")
                }
            }
        } catch {
            unlink(path)
            throw error
        }
    }

    /// Takes a namespace's name away; the kernel ends it when nothing uses it any more.
    /// - Throws: `NetlinkError`, ENOENT where there is no such name.
    public static func delete(_ name: String) throws {
        let path = try path(name)
        portolan_umount(path, PORTOLAN_MNT_DETACH)
        guard unlink(path) == 0 else {
            throw NetlinkError(currentErrorFor: "delete network namespace \(name)")
        }
    }

    /// Opens a namespace by name.
    /// - Throws: `NetlinkError`, ENOENT where there is no such name.
    public static func open(_ name: String) throws -> NamespaceDescriptor {
        try openFile(path(name), "open network namespace \(name)")
    }

    /// Opens the network namespace of a process.
    public static func open(processID: Int32) throws -> NamespaceDescriptor {
        try openFile(
            "/proc/\(processID)/ns/net", "open the network namespace of process \(processID)")
    }

    /// Opens the calling thread's network namespace.
    public static func current() throws -> NamespaceDescriptor {
        try openFile("/proc/thread-self/ns/net", "open this thread's network namespace")
    }

    /// The names there are, sorted.
    public static func names() -> [String] {
        guard let entries = opendir(directory) else { return [] }
        defer { closedir(entries) }
        var names: [String] = []
        while let entry = readdir(entries) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// True where a namespace of the name exists.
    public static func exists(_ name: String) -> Bool {
        guard let path = try? path(name) else { return false }
        return access(path, F_OK) == 0
    }

    // MARK: - Entering

    /// Runs `body` on a thread of its own inside the namespace and waits for it. Sockets opened
    /// there stay in the namespace when they are used elsewhere.
    public static func withThread<Result>(
        in namespace: NamespaceDescriptor, _ body: @escaping () throws -> Result
    ) throws -> Result {
        try runOnThread {
            try enterCurrentThread(namespace)
            return try body()
        }
    }

    /// Moves the calling thread into the namespace, for good. Only for threads the caller owns: on
    /// a pool's thread, or in a task, other work would follow.
    public static func enterCurrentThread(_ namespace: NamespaceDescriptor) throws {
        guard portolan_setns(namespace.rawValue, PORTOLAN_CLONE_NEWNET) == 0 else {
            throw NetlinkError(currentErrorFor: "enter a network namespace")
        }
    }

    /// Runs `body` on a thread that ends with it, and returns what it returns.
    public static func runOnThread<Result>(
        _ body: @escaping () throws -> Result
    ) throws -> Result {
        let job = ThreadJob<Result>(body)
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(job as AnyThreadJob)
        let code = pthread_create(&thread, nil, runThreadJob, argument.toOpaque())
        guard code == 0 else {
            argument.release()
            throw NetlinkError(code, "start a thread")
        }
        pthread_join(thread, nil)
        guard let result = job.result else { throw NetlinkError(EINTR, "run a thread") }
        return try result.get()
    }

    // MARK: - Files

    /// - Throws: EINVAL for a name that would leave the directory.
    private static func path(_ name: String) throws -> String {
        guard !name.isEmpty, name.utf8.count <= 200, !name.contains("/"), name != ".", name != ".."
        else { throw NetlinkError(EINVAL, "use \"\(name)\" as the name of a network namespace") }
        return directory + "/" + name
    }

    private static func openFile(_ path: String, _ operation: String) throws -> NamespaceDescriptor
    {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw NetlinkError(currentErrorFor: operation) }
        return NamespaceDescriptor(owning: descriptor)
    }

    /// Makes the directory a shared mount of its own, as iproute2 does, so that names appear in and
    /// vanish from every mount namespace. The lock keeps two from mounting it twice.
    private static func prepareDirectory() throws {
        if mkdir(directory, 0o755) != 0, errno != EEXIST {
            throw NetlinkError(currentErrorFor: "create \(directory)")
        }
        let lock = try openFile(directory, "open \(directory)")
        flock(lock.rawValue, LOCK_EX)
        let shared = PORTOLAN_MS_SHARED | PORTOLAN_MS_REC
        if portolan_mount("", directory, "none", shared, nil) == 0 { return }
        let bind = PORTOLAN_MS_BIND | PORTOLAN_MS_REC
        guard errno == EINVAL, portolan_mount(directory, directory, "none", bind, nil) == 0,
            portolan_mount("", directory, "none", shared, nil) == 0
        else { throw NetlinkError(currentErrorFor: "make \(directory) a shared mount") }
    }
}

// MARK: - Threads

/// Work for one thread; run once, read after it was joined.
private class AnyThreadJob {
    func run() {}
}

private final class ThreadJob<Value>: AnyThreadJob {
    private let body: () throws -> Value
    var result: Result<Value, any Error>?

    init(_ body: @escaping () throws -> Value) { self.body = body }

    override func run() { result = Result(catching: body) }
}

private func runThreadJob(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument {
        Unmanaged<AnyThreadJob>.fromOpaque(argument).takeRetainedValue().run()
    }
    return nil
}
