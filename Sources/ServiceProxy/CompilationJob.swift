import Glibc
import KubernetesAPI

/// Computes the rules of some Services, where there are many on two threads: a Service's rules
/// depend on nothing but the Service, its slices and the node.
///
/// Safe to share: what it reads never changes, and `results` are written by one thread and read
/// once that was joined.
final class CompilationJob: @unchecked Sendable {
    private let compiler: ServiceCompiler
    private let services: [ObjectKey: Shared<Service>]
    private let slices: [ObjectKey: [ObjectKey: Shared<EndpointSlice>]]
    private let keys: ArraySlice<(ObjectKey, ProxyRules?)>
    private var results: [ProxyRules?] = []

    /// Fewer Services than this are not worth a thread.
    private static let threadWorth = 2_000

    private init(_ keys: ArraySlice<(ObjectKey, ProxyRules?)>, like other: CompilationJob) {
        compiler = other.compiler
        services = other.services
        slices = other.slices
        self.keys = keys
    }

    /// - Parameter keys: the Services, each with the rules it had, from which endpoints keep their
    ///   slots.
    init(
        _ keys: [(ObjectKey, ProxyRules?)], _ compiler: ServiceCompiler,
        services: [ObjectKey: Shared<Service>],
        slices: [ObjectKey: [ObjectKey: Shared<EndpointSlice>]]
    ) {
        self.compiler = compiler
        self.services = services
        self.slices = slices
        self.keys = keys[...]
    }

    /// Calls `body` with every Service's rules, in the order of the keys; nil where it is gone or
    /// none of the proxy's.
    func forEachResult(_ body: (ObjectKey, ProxyRules?) -> Void) {
        guard keys.count >= Self.threadWorth else {
            for (key, previous) in keys { body(key, compile(key, previous)) }
            return
        }
        let middle = keys.startIndex + keys.count / 2
        let halves = [keys[..<middle], keys[middle...]].map { CompilationJob($0, like: self) }
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    Unmanaged<CompilationJob>.fromOpaque(argument).takeUnretainedValue().run()
                }
                return nil
            }, Unmanaged.passUnretained(halves[1]).toOpaque())
        halves[0].run()
        if code == 0 { pthread_join(thread, nil) } else { halves[1].run() }
        for half in halves {
            for (key, rules) in zip(half.keys, half.results) { body(key.0, rules) }
            half.results = []
        }
    }

    private func run() {
        results.reserveCapacity(keys.count)
        for (key, previous) in keys { results.append(compile(key, previous)) }
    }

    private func compile(_ key: ObjectKey, _ previous: ProxyRules?) -> ProxyRules? {
        services[key].flatMap {
            compiler.compile(
                $0.value, slices: (slices[key] ?? [:]).values.map(\.value), previous: previous)
        }
    }
}
