import Glibc

/// Waits until `condition` holds, asking again every few milliseconds. Holds the thread meanwhile;
/// a condition that awaits chooses the form that does not.
/// - Throws: where it does not hold within the bound, naming what was awaited; an error that the
///   condition throws counts as not holding, and the last one is shown.
public func eventually(
    _ what: String, withinSeconds bound: Double = 30, _ condition: () throws -> Bool
) throws {
    var lastError: (any Error)?
    let start = monotonicSeconds()
    repeat {
        do {
            if try condition() { return }
        } catch { lastError = error }
        var pause = timespec(tv_sec: 0, tv_nsec: 5_000_000)
        nanosleep(&pause, nil)
    } while monotonicSeconds() - start < bound
    throw TestFailure(describe(what, bound, lastError))
}

/// Waits until `condition`, which awaits, holds; without holding the thread.
/// - Throws: as the synchronous form does.
public func eventually(
    _ what: String, withinSeconds bound: Double = 30,
    _ condition: () async throws -> Bool
) async throws {
    var lastError: (any Error)?
    let start = monotonicSeconds()
    repeat {
        do {
            if try await condition() { return }
        } catch { lastError = error }
        try await Task.sleep(for: .milliseconds(5))
    } while monotonicSeconds() - start < bound
    throw TestFailure(describe(what, bound, lastError))
}

private func describe(_ what: String, _ bound: Double, _ error: (any Error)?) -> String {
    "\(what) did not come about within \(bound) s" + (error.map { "; last error: \($0)" } ?? "")
}

private func monotonicSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Where the package's executables are, for tests that run them.
public enum BuiltProduct {
    /// The path of an executable product of the build that made the running test bundle.
    /// - Throws: where it is not there: build it first.
    public static func path(_ name: String) throws -> String {
        // The bundle is itself an executable beside the products; under some runners it is only
        // named in the arguments.
        var candidates = CommandLine.arguments.filter { $0.contains(".xctest") }
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        if count > 0 {
            let bytes = buffer[..<count].map { UInt8(bitPattern: $0) }
            candidates.append(String(decoding: bytes, as: UTF8.self))
        }
        for candidate in candidates {
            var directory = candidate[...]
            while let slash = directory.lastIndex(of: "/") {
                directory = directory[..<slash]
                let path = "\(directory)/\(name)"
                if access(path, X_OK) == 0, !isDirectory(path) { return path }
            }
        }
        throw TestFailure(
            "the executable \(name) is not beside the test bundle; run `swift build` first")
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
