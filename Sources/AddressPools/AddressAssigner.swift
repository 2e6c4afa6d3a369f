public import JSON
public import KubernetesAPI
import NetworkTypes

/// Decides for every Service of type LoadBalancer which addresses it holds and what its status
/// says. No I/O and no clock: changes go in, keys to write and events come out. Nothing is decided
/// before `start`, because a Service that comes late may hold an address since before a restart.
public struct AddressAssigner: Sendable {
    /// What a change leads to.
    public struct Effects: Sendable {
        /// Services whose status may have to be written.
        public var keys: Set<ObjectKey> = []
        /// Events to record, in order.
        public var events: [Event] = []
        /// True where the pools are different ones now.
        public var arePoolsChanged = false
        /// True where the number of free addresses may have changed.
        public var isUsageChanged = false
    }

    /// An event about an object.
    public struct Event: Hashable, Sendable {
        /// Kind and key of the object.
        public var subject: ConfigurationSource
        /// `Warning`, or else `Normal`.
        public var isWarning: Bool
        /// One word, as MetalLB has it where MetalLB has one.
        public var reason: String
        /// The sentence for people.
        public var message: String
    }

    /// The configuration in force; nil where none has been valid yet.
    public private(set) var configuration: LoadBalancerConfiguration?
    /// The fault of the newest configuration, where an older one is still in force.
    public private(set) var configurationError: ConfigurationError?
    /// What the Services hold.
    public private(set) var allocator = AddressAllocator()
    /// Services without an address that want one, with the reason.
    public private(set) var waiting: [ObjectKey: AllocationError] = [:]

    private let loadBalancerClass: String?
    private var services: [ObjectKey: LoadBalancerService] = [:]
    private var namespaceLabels: [String: [String: String]] = [:]
    private var requestWarnings: [ObjectKey: [String]] = [:]
    private var problems: [ObjectKey: AllocationProblem] = [:]
    private var isStarted = false
    private var isAside = false

    /// Makes an assigner for Services of `loadBalancerClass`; nil for those that name no class.
    public init(loadBalancerClass: String? = nil) { self.loadBalancerClass = loadBalancerClass }

    /// Begins: everything that exists is known now. Addresses in `status.loadBalancer.ingress` are
    /// taken over first, oldest Service first; then the others get theirs.
    public mutating func start() -> Effects {
        isStarted = true
        return reconsiderAll()
    }

    /// Steps aside for another controller of the same Services, or comes back.
    public mutating func setAside(_ aside: Bool) -> Effects {
        guard aside != isAside else { return Effects() }
        isAside = aside
        if aside {
            for key in services.keys { allocator.release(key) }
            waiting = [:]
            return Effects()
        }
        return reconsiderAll()
    }

    /// Takes in a new state of a Service; nil where it is gone.
    public mutating func update(_ key: ObjectKey, _ service: LoadBalancerService?) -> Effects {
        let old = services[key]
        let isKept = service.map { $0.service.type == .loadBalancer || $0.isMarked } ?? false
        services[key] = isKept ? service : nil
        var effects = Effects()
        guard isStarted, !isAside else { return effects }
        if service == nil || old?.metadata.uid != service?.metadata.uid { forget(key) }
        reconsider(key, &effects)
        if let old, effects.isUsageChanged || Self.sharesDifferently(old, service) {
            retryWaiting(&effects)
        }
        return effects
    }

    /// True where a change of the Service may let another one share its address.
    private static func sharesDifferently(
        _ old: LoadBalancerService, _ new: LoadBalancerService?
    ) -> Bool {
        guard let new else { return true }
        return old.service.ports != new.service.ports
            || old.service.selector != new.service.selector
            || old.service.externalTrafficPolicy != new.service.externalTrafficPolicy
            || old.metadata.annotations != new.metadata.annotations
    }

    /// Takes in the labels of a namespace; nil where it is gone.
    public mutating func update(namespace: String, labels: [String: String]?) -> Effects {
        guard namespaceLabels[namespace] != labels else { return Effects() }
        namespaceLabels[namespace] = labels
        var effects = Effects()
        let isUsed = allocator.pools.contains {
            $0.serviceAllocation?.namespaceSelectors.isEmpty == false
        }
        guard isStarted, !isAside, isUsed else { return effects }
        for key in services.keys.sorted() where key.namespace == namespace {
            reconsider(key, &effects)
        }
        retryWaiting(&effects)
        return effects
    }

    /// Takes in a newly read configuration. An invalid one leaves the last valid one in force.
    public mutating func update(
        _ result: Result<LoadBalancerConfiguration, ConfigurationError>
    ) -> Effects {
        var effects = Effects()
        switch result {
        case .failure(let error):
            guard error != configurationError else { return effects }
            configurationError = error
            for source in error.sources {
                let faults = error.entries.filter { $0.source == source }.map(\.fault.description)
                let rest =
                    configuration == nil
                    ? "no address is allocated until it is corrected"
                    : "the last valid configuration stays in force"
                effects.events.append(
                    Event(
                        subject: source, isWarning: true, reason: "InvalidConfiguration",
                        message: faults.joined(separator: "; ") + " (\(rest))"))
            }
            if configuration == nil, isStarted, !isAside { retryWaiting(&effects) }
        case .success(let fresh):
            configurationError = nil
            guard fresh != configuration else { return effects }
            let known = Set(configuration?.warnings ?? [])
            for warning in fresh.warnings where !known.contains(warning) {
                effects.events.append(
                    Event(
                        subject: warning.source, isWarning: true, reason: "NotActedOn",
                        message: warning.message))
            }
            effects.arePoolsChanged = fresh.prefixes != configuration?.prefixes ?? []
            effects.isUsageChanged = true
            configuration = fresh
            allocator.setPools(fresh.pools)
            if isStarted, !isAside { merge(reconsiderAll(), into: &effects) }
        }
        return effects
    }

    /// Merge patches for one Service; nil where nothing is to be changed.
    public struct Patches: Hashable, Sendable {
        /// For subresource `status`.
        public var status: JSONValue?
        /// For the object itself.
        public var metadata: JSONValue?
    }

    /// The patches that a Service needs to say what was decided, from its newest known state; nil
    /// for a Service that is not of our concern.
    public func patches(for key: ObjectKey, now: String) -> Patches? {
        guard isStarted, !isAside, let service = services[key],
            let desired = desiredStatus(of: service)
        else { return nil }
        return Patches(
            status: service.statusPatch(desired, now: now),
            metadata: service.metadataPatch(desired))
    }

    /// The events of Services that still wait, for a reminder long after.
    func reminders() -> [Event] {
        waiting.keys.sorted().compactMap { key in waiting[key].map { failure(key, $0) } }
    }

    /// The newest known state of the Service that an event is about, for its uid.
    func metadata(of key: ObjectKey) -> ObjectMeta? { services[key]?.metadata }
}

// MARK: - Deciding

extension AddressAssigner {
    private func isOurs(_ service: Service) -> Bool {
        service.type == .loadBalancer && service.loadBalancerClass == loadBalancerClass
    }

    private func desiredStatus(of service: LoadBalancerService) -> DesiredStatus? {
        let key = service.service.key
        guard isOurs(service.service) else {
            return service.isMarked && service.service.type != .loadBalancer ? .unmarked : nil
        }
        if let assignment = allocator.assignment(of: key) {
            return .assigned(assignment, problem: problems[key])
        }
        // Without a configuration nothing is known about an address from before: it stays.
        if configuration == nil, !service.service.ingress.isEmpty { return nil }
        return waiting[key].map { .waiting(AllocationProblem($0)) }
    }

    /// False where nothing can be said about a Service: there is no valid configuration yet, or no
    /// pool while the Service has an address without a mark of ours, another controller's work.
    private func isDecided(_ service: LoadBalancerService) -> Bool {
        guard let configuration else { return false }
        return !configuration.pools.isEmpty || service.isMarked || service.service.ingress.isEmpty
    }

    private mutating func reconsiderAll() -> Effects {
        var effects = Effects()
        let ordered = services.values.sorted { Self.age($0) < Self.age($1) }
        // Those that hold something speak first, so that nobody gets an address that is taken.
        for service in ordered {
            guard isOurs(service.service), isDecided(service),
                let held = heldAddresses(service)
            else { continue }
            do throws(AllocationError) {
                try allocator.take(held, try request(of: service.service))
            } catch {
                letGo(service, error, &effects)
            }
        }
        for service in ordered { reconsider(service.service.key, &effects) }
        retryWaiting(&effects)
        effects.isUsageChanged = true
        return effects
    }

    private func heldAddresses(_ service: LoadBalancerService) -> [IPAddress]? {
        if let held = allocator.assignment(of: service.service.key) { return held.addresses }
        let addresses = service.service.ingress.compactMap(\.address)
        return addresses.isEmpty ? nil : addresses
    }

    private func request(of service: Service) throws(AllocationError) -> AddressRequest {
        try AddressRequest(
            service, namespaceLabels: namespaceLabels[service.metadata.namespace] ?? [:])
    }

    private mutating func reconsider(_ key: ObjectKey, _ effects: inout Effects) {
        guard let service = services[key] else {
            if allocator.release(key) != nil { effects.isUsageChanged = true }
            return
        }
        effects.keys.insert(key)
        guard isOurs(service.service) else {
            let released = allocator.release(key)
            forget(key)
            if released != nil {
                effects.isUsageChanged = true
                effects.events.append(
                    clear(key, "the Service is not of type LoadBalancer, or of another class"))
            }
            return
        }
        guard isDecided(service) else {
            if service.service.ingress.isEmpty { wait(key, missingConfiguration, &effects) }
            return
        }
        do throws(AllocationError) {
            let request = try request(of: service.service)
            warn(key, request.warnings, &effects)
            try settle(service, request, &effects)
        } catch {
            letGo(service, error, &effects)
            wait(key, error, &effects)
        }
    }

    /// Keeps the addresses a Service holds where it may, and otherwise finds others.
    private mutating func settle(
        _ service: LoadBalancerService, _ request: AddressRequest, _ effects: inout Effects
    ) throws(AllocationError) {
        let key = request.key
        if let held = heldAddresses(service) {
            do throws(AllocationError) {
                let before = allocator.assignment(of: key)
                let kept = try allocator.take(held, request)
                if before != kept { effects.isUsageChanged = true }
                hold(service, kept, &effects)
                return
            } catch {
                letGo(service, error, &effects)
            }
        }
        let assignment = try allocator.allocate(request)
        effects.isUsageChanged = true
        let texts = assignment.addresses.map(\.description).joined(separator: ", ")
        effects.events.append(
            event(key, false, "IPAllocated", "Assigned \(texts) from pool \"\(assignment.pool)\""))
        hold(service, assignment, &effects)
    }

    /// Gives up what a Service holds, or what its status still says it holds; says so once.
    private mutating func letGo(
        _ service: LoadBalancerService, _ error: AllocationError, _ effects: inout Effects
    ) {
        let key = service.service.key
        let released = allocator.release(key)
        if released != nil { effects.isUsageChanged = true }
        let isStale = !service.service.ingress.isEmpty && waiting[key] == nil
        guard released != nil || isStale else { return }
        let isSaid = effects.events.contains {
            $0.subject.key == key && $0.reason == "ClearAssignment"
        }
        if !isSaid { effects.events.append(clear(key, error.description)) }
    }

    /// Notes that a Service has its addresses, and says so where nothing will announce them.
    private mutating func hold(
        _ service: LoadBalancerService, _ assignment: AddressAllocator.Assignment,
        _ effects: inout Effects
    ) {
        let key = service.service.key
        waiting[key] = nil
        let problem = advertisementProblem(service.service, assignment)
        if let problem, problems[key] != problem {
            effects.events.append(event(key, true, "announceFailed", problem.message))
        }
        problems[key] = problem
    }

    private func advertisementProblem(
        _ service: Service, _ assignment: AddressAllocator.Assignment
    ) -> AllocationProblem? {
        guard let configuration, let pool = configuration.pool(named: assignment.pool) else {
            return nil
        }
        let found = configuration.l2Advertisements(
            for: pool, serviceLabels: service.metadata.labels)
        guard found.isEmpty else { return nil }
        return AllocationProblem(
            reason: "NoAdvertisement",
            message: "no node announces the address: create an L2Advertisement "
                + "(metallb.io/v1beta1) in namespace metallb-system that covers pool "
                + "\"\(pool.name)\" and this Service")
    }

    private mutating func retryWaiting(_ effects: inout Effects) {
        let ordered = waiting.keys.compactMap { services[$0] }
            .sorted { Self.age($0) < Self.age($1) }
        for service in ordered { reconsider(service.service.key, &effects) }
    }

    private static func age(_ service: LoadBalancerService) -> (String, ObjectKey) {
        (service.metadata.creationTimestamp, service.service.key)
    }
}

// MARK: - Events

extension AddressAssigner {
    private var missingConfiguration: AllocationError {
        configurationError.map { .invalidConfiguration($0.description) } ?? .noPools
    }

    private mutating func wait(
        _ key: ObjectKey, _ error: AllocationError, _ effects: inout Effects
    ) {
        problems[key] = nil
        guard waiting[key] != error else { return }
        waiting[key] = error
        effects.events.append(failure(key, error))
    }

    private mutating func warn(
        _ key: ObjectKey, _ warnings: [String], _ effects: inout Effects
    ) {
        let known = requestWarnings[key] ?? []
        for warning in warnings where !known.contains(warning) {
            effects.events.append(event(key, true, "DeprecatedAnnotation", warning))
        }
        requestWarnings[key] = warnings.isEmpty ? nil : warnings
    }

    private mutating func forget(_ key: ObjectKey) {
        waiting[key] = nil
        problems[key] = nil
        requestWarnings[key] = nil
    }

    private func failure(_ key: ObjectKey, _ error: AllocationError) -> Event {
        event(key, true, "AllocationFailed", "Failed to allocate an address: \(error)")
    }

    private func clear(_ key: ObjectKey, _ why: String) -> Event {
        event(key, false, "ClearAssignment", "Address released: \(why)")
    }

    private func event(
        _ key: ObjectKey, _ isWarning: Bool, _ reason: String, _ message: String
    ) -> Event {
        Event(
            subject: ConfigurationSource(kind: "Service", key: key), isWarning: isWarning,
            reason: reason, message: message)
    }

    private func merge(_ other: Effects, into effects: inout Effects) {
        effects.keys.formUnion(other.keys)
        effects.events += other.events
        effects.arePoolsChanged = effects.arePoolsChanged || other.arePoolsChanged
        effects.isUsageChanged = effects.isUsageChanged || other.isUsageChanged
    }
}
