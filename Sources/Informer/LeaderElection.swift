import JSON
public import KubernetesAPI
public import Logging

/// Chooses one of several processes by a Lease, as client-go's leaderelection does: who holds it
/// renews it; others take it when it has not changed for its duration by their own clock, so that
/// clocks need not agree.
public struct LeaderElection: Sendable {
    /// How long things take, in seconds.
    public struct Timing: Sendable {
        /// A Lease that has not changed for so long may be taken.
        public var leaseSeconds = 15
        /// Between two tries to take or renew it.
        public var retrySeconds = 2
        /// Who cannot renew for so long stops acting; it must be shorter than the Lease.
        public var giveUpSeconds = 10

        /// Makes client-go's timing.
        public init() {}
    }

    private let client: any KubernetesClient
    private let key: ObjectKey
    private let identity: String
    private let timing: Timing
    private let logger: Logger

    /// Makes a candidate.
    /// - Parameters:
    ///   - key: the Lease.
    ///   - identity: who this is; no two candidates may share it.
    public init(
        client: any KubernetesClient, lease key: ObjectKey, identity: String,
        timing: Timing = Timing(), logger: Logger
    ) {
        self.client = client
        self.key = key
        self.identity = identity
        self.timing = timing
        self.logger = logger
    }

    /// Stands for election until the task is cancelled, and runs `body` whenever this is the
    /// leader; `body` is cancelled, and awaited, when it is not any more. At the end the Lease is
    /// given back.
    public func run(_ body: @Sendable @escaping () async -> Void) async {
        var observer = LeaseObserver(identity: identity)
        while !Task.isCancelled {
            if await attempt(&observer) {
                logger.info("leading", metadata: ["lease": "\(key)"])
                await lead(&observer, body)
            }
            try? await Task.sleep(for: .seconds(timing.retrySeconds))
        }
    }

    /// Runs the body and renews, until that fails for too long or the task is cancelled.
    private func lead(
        _ observer: inout LeaseObserver, _ body: @Sendable @escaping () async -> Void
    ) async {
        let work = Task { await body() }
        var renewed = ContinuousClock.now
        while !Task.isCancelled,
            ContinuousClock.now - renewed < .seconds(timing.giveUpSeconds)
        {
            try? await Task.sleep(for: .seconds(timing.retrySeconds))
            if Task.isCancelled { break }
            if await attempt(&observer) {
                renewed = .now
            } else if observer.isHeldByAnother {
                break
            }
        }
        work.cancel()
        await work.value
        logger.info("not leading any more", metadata: ["lease": "\(key)"])
        // The task is cancelled by now, and requests of a cancelled task fail.
        let state = observer
        await Task.detached { await release(state) }.value
    }

    /// True where the Lease is this candidate's afterwards.
    private func attempt(_ observer: inout LeaseObserver) async -> Bool {
        do {
            let lease: JSONValue?
            do {
                lease = try await client.get(.leases, namespace: key.namespace, name: key.name)
            } catch let error as StatusError where error.isNotFound {
                lease = nil
            }
            observer.observe(lease, at: .now)
            guard
                let wish = observer.wish(
                    key, leaseSeconds: timing.leaseSeconds, now: .now, time: .now)
            else { return false }
            let written =
                lease == nil
                ? try await client.create(.leases, wish)
                : try await client.update(.leases, wish, subresource: nil)
            observer.observe(written, at: .now)
            return true
        } catch let error as StatusError where error.isConflict || error.isAlreadyExists {
            return false  // another was faster
        } catch {
            if !Task.isCancelled {
                logger.warning(
                    "the Lease cannot be had", metadata: ["lease": "\(key)", "error": "\(error)"])
            }
            return false
        }
    }

    private func release(_ observer: LeaseObserver) async {
        guard let wish = observer.release(key, time: .now) else { return }
        _ = try? await client.update(.leases, wish, subresource: nil)
    }
}

/// What a candidate knows of a Lease, and what it makes of it. Pure.
struct LeaseObserver: Sendable {
    let identity: String
    private var lease: JSONValue?
    /// When it last changed, by this machine's clock.
    private var changedAt: ContinuousClock.Instant?

    init(identity: String) { self.identity = identity }

    private var holder: String { lease?["spec", "holderIdentity"]?.string ?? "" }

    var isHeldByAnother: Bool { !holder.isEmpty && holder != identity }

    /// Takes in the Lease as it was read; nil where there is none.
    mutating func observe(_ lease: JSONValue?, at now: ContinuousClock.Instant) {
        let isSame = lease?["spec"] == self.lease?["spec"] && lease != nil
        self.lease = lease
        if !isSame || changedAt == nil { changedAt = now }
    }

    /// The Lease as this candidate wants to write it; nil where it must wait for another's to run
    /// out.
    func wish(
        _ key: ObjectKey, leaseSeconds: Int, now: ContinuousClock.Instant, time: Timestamp
    ) -> JSONValue? {
        var spec: JSONValue = [
            "holderIdentity": .string(identity),
            "leaseDurationSeconds": .integer(Int64(leaseSeconds)),
            "renewTime": .string(time.microTimeText),
        ]
        guard let lease, let changedAt else {
            spec["acquireTime"] = .string(time.microTimeText)
            spec["leaseTransitions"] = 0
            return object(key, spec)
        }
        let transitions = lease["spec", "leaseTransitions"]?.integer ?? 0
        if holder == identity {
            spec["acquireTime"] = lease["spec", "acquireTime"] ?? .string(time.microTimeText)
            spec["leaseTransitions"] = .integer(transitions)
        } else {
            let duration = lease["spec", "leaseDurationSeconds"]?.int ?? leaseSeconds
            guard holder.isEmpty || now - changedAt >= .seconds(duration) else { return nil }
            spec["acquireTime"] = .string(time.microTimeText)
            spec["leaseTransitions"] = .integer(transitions + 1)
        }
        return object(key, spec)
    }

    /// The Lease given back, so that another need not wait; nil where it is not this candidate's.
    func release(_ key: ObjectKey, time: Timestamp) -> JSONValue? {
        guard let lease, holder == identity else { return nil }
        return object(
            key,
            [
                "holderIdentity": "", "leaseDurationSeconds": 1,
                "renewTime": .string(time.microTimeText),
                "leaseTransitions": lease["spec", "leaseTransitions"] ?? 0,
            ])
    }

    /// With the revision it was read at, so that a write that is not the next one fails.
    private func object(_ key: ObjectKey, _ spec: JSONValue) -> JSONValue {
        var metadata: JSONValue = [
            "name": .string(key.name), "namespace": .string(key.namespace),
        ]
        if let revision = lease?["metadata", "resourceVersion"] {
            metadata["resourceVersion"] = revision
        }
        return [
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": spec,
        ]
    }
}
