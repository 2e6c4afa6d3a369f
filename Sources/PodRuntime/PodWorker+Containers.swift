import Glibc
import Informer
import JSON
import KubernetesAPI
import NetworkTypes

// The side of a pod's worker that makes networks, volumes and containers.
extension PodWorker {
    /// The directory of one run of a container.
    func containerDirectory(_ id: String) -> String {
        context.podDirectory(uid) + "/containers/" + id
    }

    private var namespacesDirectory: String { context.podDirectory(uid) + "/ns" }
    private var sharedMemoryPath: String { context.podDirectory(uid) + "/shm" }

    // MARK: - Adoption

    /// Takes over what an earlier agent left running.
    func adopt() async {
        guard machine.containers.values.contains(where: { !$0.id.isEmpty }) else { return }
        let shortID = shortID
        let network = context.network
        let usesHostNetwork = machine.spec.usesHostNetwork
        let uts = namespacesDirectory + "/uts"
        let isSandboxThere =
            (try? await Blocking.run {
                Mounts.targets().contains(uts) && (usesHostNetwork || network.isSetUp(shortID))
            }) ?? false
        if isSandboxThere {
            if !usesHostNetwork { reserveAddress() }
            machine.sandbox = .ready
            volumePaths = (try? await prepareVolumes()) ?? [:]
        }
        let now = Timestamp.now
        for (name, record) in machine.containers {
            switch record.state {
            case .running:
                if let code = context.runtime.exitCode(record.id) {
                    await containerExited(id: record.id)
                    _ = code
                } else if isSandboxThere, isAlive(record) {
                    adoptRunning(name, record)
                } else {
                    // The machine was restarted, or the network is gone: it begins anew, whatever
                    // its restart policy, for it did not end by itself.
                    kill(record.processID, isAlive(record) ? SIGKILL : 0)
                    await forget(name, record, at: now)
                }
            case .starting: await forget(name, record, at: now)
            case .waiting, .terminated: break
            }
        }
    }

    private func adoptRunning(_ name: String, _ record: ContainerRecord) {
        guard let container = machine.spec.container(name) else { return }
        machine.containers[name]?.isStopping = false
        machine.containers[name]?.isReady = record.isStarted && container.readinessProbe == nil
        if wasReady(name), record.isStarted { machine.containers[name]?.isReady = true }
        beginProbes(container, id: record.id)
    }

    /// What the API server was last told of a container's readiness, which holds until a probe says
    /// otherwise.
    private func wasReady(_ name: String) -> Bool {
        (pod.json["status", "containerStatuses"]?.array ?? [])
            .contains { $0["name"]?.string == name && $0["ready"]?.bool == true }
    }

    private func forget(_ name: String, _ record: ContainerRecord, at now: Timestamp) async {
        let directory = containerDirectory(record.id)
        let runtime = context.runtime
        if !record.id.isEmpty {
            _ = try? await Blocking.run { Self.removeContainer(record.id, directory, runtime) }
        }
        var fresh = record
        fresh.state = .waiting(reason: "ContainerCreating", message: "")
        if record.isRunning { fresh.restartCount += 1 }
        fresh.isStarted = false
        fresh.isReady = false
        fresh.isStopping = false
        machine.containers[name] = fresh
    }

    private func reserveAddress() {
        address = context.allocateAddress(uid: uid, preferred: address ?? pod.podIPs.first)
    }

    // MARK: - Sandbox

    /// Makes the pod's network, shared namespaces and volumes.
    func prepareSandbox() async {
        var failure: String?
        do {
            try await makeSandbox()
        } catch {
            failure = "\(error)"
            let reason =
                error is ContainerConfigError ? "FailedMount" : "FailedCreatePodSandBox"
            event(.warning, reason, "\(error)")
        }
        machine.sandboxPrepared(error: failure, at: .now)
        step()
    }

    private func makeSandbox() async throws {
        let pod = machine.spec
        if !pod.usesHostNetwork {
            reserveAddress()
            guard let address else {
                throw RuntimeError(
                    description: context.hasPodCIDR
                        ? "no address is free in the node's pod CIDR: delete pods, or start with a "
                            + "larger --pod-cidr"
                        : "the node has no pod CIDR yet")
            }
            let (network, shortID) = (context.network, shortID)
            try await Blocking.run { try network.setUp(shortID, address: address) }
        }
        let (namespaces, shm) = (namespacesDirectory, sharedMemoryPath)
        let files = podFiles()
        let directory = context.podDirectory(uid)
        try await Blocking.run {
            try Files.makeDirectories(directory)
            try PodNamespaces.create(in: namespaces, hostname: pod.hostname)
            for (name, text) in files { try Files.write(directory + "/" + name, Array(text.utf8)) }
            Mounts.unmount(shm)
            try Files.makeDirectories(shm)
            try Mounts.tmpfs(at: shm, mode: "1777", sizeByteCount: 64 * 1024 * 1024)
        }
        volumePaths = try await prepareVolumes()
    }

    private func podFiles() -> [(String, String)] {
        let configuration = context.configuration
        let dns = PodFiles.ClusterDNS(
            address: configuration.clusterDNS, domain: configuration.clusterDomain,
            machineResolvConf: Files.text("/etc/resolv.conf") ?? "")
        let own = machine.spec.usesHostNetwork ? configuration.lanAddress : address
        return [
            ("resolv.conf", PodFiles.resolvConf(machine.spec, dns)),
            (
                "hosts",
                PodFiles.hosts(
                    machine.spec, address: own ?? configuration.lanAddress,
                    domain: configuration.clusterDomain)
            ),
            ("hostname", machine.spec.hostname + "\n"),
        ]
    }

    var statusFields: [String: String] {
        let node = context.configuration.lanAddress.description
        let own = machine.spec.usesHostNetwork ? node : address?.description ?? ""
        return [
            "status.podIP": own, "status.podIPs": own, "status.hostIP": node,
            "status.hostIPs": node, "spec.nodeName": context.configuration.nodeName,
        ]
    }

    /// Lays out the volumes, or brings those made from the API up to date.
    func prepareVolumes() async throws -> [String: String] {
        try await Volumes(
            directory: context.podDirectory(uid), pod: machine.spec, client: context.client,
            tokens: tokens, statusFields: statusFields
        ).prepare()
    }

    /// Takes network and namespaces away. Volumes and logs stay until the pod is deleted.
    func tearDown() async {
        let (network, shortID, usesHostNetwork) =
            (context.network, shortID, machine.spec.usesHostNetwork)
        let (namespaces, shm) = (namespacesDirectory, sharedMemoryPath)
        _ = try? await Blocking.run {
            if !usesHostNetwork { network.tearDown(shortID) }
            Mounts.unmount(namespaces + "/ipc")
            Mounts.unmount(namespaces + "/uts")
            Mounts.unmount(shm)
        }
        context.releaseAddress(uid: uid)
        machine.sandboxTornDown()
        step()
    }

    // MARK: - Starting a container

    /// Starts a container and reports how that went to the machine.
    func start(_ name: String, attempt: Int) async {
        guard let container = machine.spec.container(name) else { return }
        let id = "\(shortID)-\(name)-\(attempt)"
        do {
            let image = try await self.image(container)
            let processID = try await create(container, image, id: id, attempt: attempt)
            event(.normal, "Created", "Created container: \(name)")
            let processStart = ProcessTable.startTime(processID) ?? 0
            try await context.runtime.start(id)
            event(.normal, "Started", "Started container \(name)")
            machine.started(
                name, id: id, imageID: image.id, processID: processID, processStart: processStart,
                at: .now)
            beginProbes(container, id: id)
            step()
            // A container that ends at once may have left its exit code before it was known here.
            await containerExited(id: id)
            await runPostStart(container, id: id)
        } catch {
            let directory = containerDirectory(id)
            let runtime = context.runtime
            _ = try? await Blocking.run { Self.removeContainer(id, directory, runtime) }
            reportFailedStart(container, error)
        }
    }

    private func reportFailedStart(_ container: ContainerSpecification, _ error: any Error) {
        let reason: String
        switch error {
        case let error as ImageError: reason = error.reason
        case let error as ContainerConfigError: reason = error.reason
        default: reason = "RunContainerError"
        }
        if !(error is ImageError) { event(.warning, "Failed", "Error: \(error)") }
        machine.startFailed(container.name, reason: reason, message: "\(error)", at: .now)
        step()
    }

    private func image(_ container: ContainerSpecification) async throws -> Image {
        let reference = ImageReference(container.image)
        let begun = Timestamp.now
        if reference?.builtIn == nil {
            event(.normal, "Pulling", "Pulling image \"\(container.image)\"")
        }
        do {
            let image = try await context.images.image(
                container.image, policy: container.imagePullPolicy)
            let seconds = Timestamp.now.secondsSince(begun)
            event(
                .normal, "Pulled",
                seconds < 0.5
                    ? "Container image \"\(container.image)\" already present on machine"
                    : "Successfully pulled image \"\(container.image)\" in \(Int(seconds))s")
            return image
        } catch {
            event(.warning, "Failed", "Failed to pull image \"\(container.image)\": \(error)")
            event(.warning, "Failed", "Error: ErrImagePull")
            throw error
        }
    }

    /// Lays out the bundle and creates the container.
    private func create(
        _ container: ContainerSpecification, _ image: Image, id: String, attempt: Int
    ) async throws -> pid_t {
        let environment = try await environment(container, image)
        let directory = containerDirectory(id)
        let logPath = context.logPath(uid, container.name, attempt: attempt)
        let bundle = Bundle(
            container: container, pod: machine.spec, image: image.configuration,
            environment: environment,
            mounts: image.mounts + (try mounts(container, directory, environment)),
            networkNamespacePath: machine.spec.usesHostNetwork
                ? context.network.node.path : context.network.namespacePath(shortID),
            ipcNamespacePath: machine.spec.json["spec", "hostIPC"]?.bool == true
                ? nil : namespacesDirectory + "/ipc",
            utsNamespacePath: machine.spec.usesHostNetwork ? nil : namespacesDirectory + "/uts",
            cgroupPath: "/\(context.configuration.namePrefix)/\(id)",
            processNamespacePath: try processNamespace(container),
            user: try user(container, image))
        let configuration = try bundle.configuration().serializedBytes
        let lower = image.lowerDirectories
        let runtime = context.runtime
        try await Blocking.run {
            Self.removeContainer(id, directory, runtime)
            for name in ["rootfs", "upper", "work"] {
                try Files.makeDirectories(directory + "/" + name)
            }
            if let slash = logPath.lastIndex(of: "/") {
                try Files.makeDirectories(String(logPath[..<slash]))
            }
            try Files.write(directory + "/termination-log", [], mode: 0o666)
            try Files.write(directory + "/config.json", configuration, mode: 0o600)
            try Mounts.overlay(
                lower: lower, upper: directory + "/upper", work: directory + "/work",
                at: directory + "/rootfs")
        }
        return try await runtime.create(
            id, bundle: directory, logPath: logPath, usesTerminal: container.usesTerminal,
            input: container.standardInput)
    }

    /// Whose processes an ephemeral container sees: those of the container it names, if any.
    private func processNamespace(_ container: ContainerSpecification) throws -> String? {
        let target = container.json["targetContainerName"]?.string ?? ""
        guard container.isEphemeral, !target.isEmpty else { return nil }
        guard let record = machine.containers[target], record.isRunning else {
            throw ContainerConfigError("targetContainerName \"\(target)\" does not run")
        }
        return "/proc/\(record.processID)/ns/pid"
    }

    private func user(_ container: ContainerSpecification, _ image: Image) throws -> ContainerUser {
        let root = image.lowerDirectories.first ?? ""
        return try PodFiles.user(
            container, machine.spec, imageUser: image.configuration.user,
            passwd: Files.text(root + "/etc/passwd") ?? "",
            group: Files.text(root + "/etc/group") ?? "")
    }

    var prober: Prober {
        Prober(
            runtime: context.runtime, address: address ?? context.configuration.lanAddress,
            node: context.network.node)
    }

    // MARK: - Environment and mounts

    private func environment(
        _ container: ContainerSpecification, _ image: Image
    ) async throws -> [(name: String, value: String)] {
        var sources = EnvironmentSources(statusFields: statusFields)
        sources.image = image.configuration.environment.map { entry in
            let parts = entry.split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
        if ImageReference(container.image)?.builtIn == .hostname {
            sources.image += [
                ("POD_NAME", machine.spec.key.name),
                ("NODE_NAME", context.configuration.nodeName),
            ]
        }
        for (field, resource) in [("configMap", Resource.configMaps), ("secret", .secrets)] {
            for name in referenced(container, field) {
                guard let object = try await existing(resource, name) else { continue }
                let texts = ObjectData(object).texts
                if field == "secret" {
                    sources.secrets[name] = texts
                } else {
                    sources.configMaps[name] = texts
                }
            }
        }
        sources.serviceVariables = await serviceVariables()
        return try ContainerEnvironment.make(container, machine.spec, sources)
    }

    private func existing(_ resource: Resource, _ name: String) async throws -> JSONValue? {
        do {
            return try await context.client.get(
                resource, namespace: machine.spec.key.namespace, name: name)
        } catch let error as StatusError where error.isNotFound {
            return nil
        }
    }

    /// The ConfigMaps or Secrets that a container's variables name.
    private func referenced(_ container: ContainerSpecification, _ kind: String) -> Set<String> {
        var names: Set<String> = []
        for source in container.json["envFrom"]?.array ?? [] {
            if let name = source[kind + "Ref", "name"]?.string { names.insert(name) }
        }
        for entry in container.json["env"]?.array ?? [] {
            if let name = entry["valueFrom", kind + "KeyRef", "name"]?.string {
                names.insert(name)
            }
        }
        return names
    }

    private func serviceVariables() async -> [(name: String, value: String)] {
        let spec = machine.spec
        var namespaces: Set<String> = ["default"]
        if spec.enablesServiceLinks { namespaces.insert(spec.key.namespace) }
        var services: [Service] = []
        for namespace in namespaces {
            let list = try? await context.client.list(
                .services, ListOptions(namespace: namespace))
            services += (list?.items ?? []).compactMap { try? Service(json: $0) }
        }
        return ServiceEnvironment.variables(
            services, namespace: spec.key.namespace, enablesLinks: spec.enablesServiceLinks)
    }

    private func mounts(
        _ container: ContainerSpecification, _ directory: String,
        _ environment: [(name: String, value: String)]
    ) throws -> [BundleMount] {
        let pod = context.podDirectory(uid)
        var result = ["resolv.conf", "hosts", "hostname"].map {
            BundleMount(source: pod + "/" + $0, destination: "/etc/" + $0, isReadOnly: false)
        }
        result.append(
            BundleMount(source: sharedMemoryPath, destination: "/dev/shm", isReadOnly: false))
        let log = container.json["terminationMessagePath"]?.string ?? "/dev/termination-log"
        result.append(
            BundleMount(
                source: directory + "/termination-log", destination: log, isReadOnly: false))
        let variables = Dictionary(environment.map { ($0.name, $0.value) }) { $1 }
        for mount in container.json["volumeMounts"]?.array ?? [] {
            let name = mount["name"]?.string ?? ""
            guard var source = volumePaths[name] else {
                throw ContainerConfigError("volumeMounts names \"\(name)\", which is no volume")
            }
            let subPath =
                mount["subPathExpr"]?.string.map {
                    ContainerEnvironment.expand($0) { variables[$0] }
                } ?? mount["subPath"]?.string ?? ""
            if !subPath.isEmpty {
                guard !subPath.split(separator: "/").contains("..") else {
                    throw ContainerConfigError("subPath \"\(subPath)\" leaves its volume")
                }
                source += "/" + subPath
                if !Files.exists(source) { try Files.makeDirectories(source) }
            }
            let destination = mount["mountPath"]?.string ?? ""
            result.removeAll { $0.destination == destination }
            let propagation =
                switch mount["mountPropagation"]?.string {
                case "HostToContainer"?: "rslave"
                case "Bidirectional"?: "rshared"
                default: "rprivate"
                }
            result.append(
                BundleMount(
                    source: source, destination: destination,
                    isReadOnly: mount["readOnly"]?.bool ?? false, propagation: propagation))
        }
        return result
    }

    private func runPostStart(_ container: ContainerSpecification, id: String) async {
        guard let hook = container.json["lifecycle", "postStart"].flatMap(ProbeHandler.init(json:))
        else { return }
        let result = await prober.run(hook, container, id: id, timeoutSeconds: 300)
        guard !result.isSuccess, machine.containers[container.name]?.id == id else { return }
        event(.warning, "FailedPostStartHook", "PostStartHook failed: \(result.message)")
        let action = machine.stopForProbe(
            container.name, graceSeconds: machine.spec.gracePeriodSeconds,
            message: "FailedPostStartHook")
        if let action { begin(action) }
    }
}
