import Glibc

/// The real clients that tests use, where scripts/test-clients puts them.
public enum TestClients {
    /// The root of the package.
    public static let packageRoot: String = {
        let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
        return parts.dropLast(3).joined(separator: "/")
    }()

    /// kubectl 1.20, which speaks SPDY alone.
    /// - Throws: where it is missing, with how to get it.
    public static var oldKubectl: String {
        get throws { try path("kubectl-1.20") }
    }

    /// Python with the `kubernetes` package.
    /// - Throws: where it is missing, with how to get it.
    public static var python: String {
        get throws { try path("python/bin/python") }
    }

    /// Every newer kubectl of this machine, oldest first: those that a Google Cloud dispatcher
    /// brings, or else the one in PATH.
    public static var newKubectls: [String] {
        let folder = "/usr/lib/google-cloud-sdk/bin"
        let names: [String] = (27...40).map { "\(folder)/kubectl.1.\($0)" }
        let found = names.filter { access($0, X_OK) == 0 }
        return found.isEmpty ? ["kubectl"] : found
    }

    /// The kubectls that tests try: 1.20, the oldest newer one and the newest; all with
    /// `PORTOLAN_SOAK=1`.
    public static var kubectls: [String] {
        let new = newKubectls
        // A missing old one fails the tests that are given its name, and says what to do.
        let old = (try? oldKubectl) ?? "kubectl-1.20: run scripts/test-clients"
        if getenv("PORTOLAN_SOAK") != nil { return [old] + new }
        return [old] + (new.count > 1 ? [new[0], new[new.count - 1]] : new)
    }

    private static func path(_ name: String) throws -> String {
        let path = "\(packageRoot)/.build/test-clients/\(name)"
        guard access(path, X_OK) == 0 else {
            throw TestFailure("\(path) is missing: run scripts/test-clients")
        }
        return path
    }
}
