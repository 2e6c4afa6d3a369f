import JSON
import KubernetesAPI

/// What a pod asks of its node, read once from its JSON.
struct PodSpecification: Sendable, Hashable {
    var key: ObjectKey
    var uid: String
    /// The whole object, for downward fields and volumes.
    var json: JSONValue
    var initContainers: [ContainerSpecification]
    var containers: [ContainerSpecification]
    /// Added to a running pod, to look into it; they run once.
    var ephemeralContainers: [ContainerSpecification]
    var restartPolicy: RestartPolicy
    var gracePeriodSeconds: Int
    var usesHostNetwork: Bool
    var hostname: String
    var subdomain: String
    var dnsPolicy: String
    var enablesServiceLinks: Bool
    var serviceAccountName: String
    /// `spec.securityContext`
    var securityContext: JSONValue
    var activeDeadlineSeconds: Int?

    /// The restart policies of a pod; sidecars are init containers with `always`.
    enum RestartPolicy: String, Sendable, Hashable {
        case always = "Always"
        case onFailure = "OnFailure"
        case never = "Never"

        /// True where a container that ended with `exitCode` runs again.
        func restarts(afterExitCode exitCode: Int32) -> Bool {
            switch self {
            case .always: true
            case .onFailure: exitCode != 0
            case .never: false
            }
        }
    }

    /// Reads a pod.
    init(_ pod: Pod) {
        key = pod.key
        uid = pod.metadata.uid
        json = pod.json
        let spec = pod.json["spec"] ?? [:]
        initContainers = (spec["initContainers"]?.array ?? [])
            .map { ContainerSpecification(json: $0, isInit: true) }
        containers = (spec["containers"]?.array ?? [])
            .map { ContainerSpecification(json: $0, isInit: false) }
        ephemeralContainers = Self.ephemeralContainers(pod)
        restartPolicy =
            spec["restartPolicy"]?.string.flatMap(RestartPolicy.init(rawValue:)) ?? .always
        gracePeriodSeconds = spec["terminationGracePeriodSeconds"]?.int ?? 30
        usesHostNetwork = pod.usesHostNetwork
        hostname = pod.hostname.isEmpty ? String(pod.metadata.name.prefix(63)) : pod.hostname
        subdomain = pod.subdomain
        dnsPolicy = spec["dnsPolicy"]?.string ?? "ClusterFirst"
        enablesServiceLinks = spec["enableServiceLinks"]?.bool ?? true
        serviceAccountName = spec["serviceAccountName"]?.string ?? "default"
        securityContext = spec["securityContext"] ?? [:]
        activeDeadlineSeconds = spec["activeDeadlineSeconds"]?.int
    }

    /// The ephemeral containers that a pod has now.
    static func ephemeralContainers(_ pod: Pod) -> [ContainerSpecification] {
        (pod.json["spec", "ephemeralContainers"]?.array ?? []).map { json in
            var container = ContainerSpecification(json: json, isInit: false)
            container.isEphemeral = true
            return container
        }
    }

    /// Init containers first, then containers, in the order of the spec, then ephemeral ones.
    var allContainers: [ContainerSpecification] {
        initContainers + containers + ephemeralContainers
    }

    /// The container of any kind called `name`.
    func container(_ name: String) -> ContainerSpecification? {
        allContainers.first { $0.name == name }
    }

    /// The restart policy that holds for a container: sidecars always run, other init containers
    /// run again on failure unless the pod says never.
    func restartPolicy(for container: ContainerSpecification) -> RestartPolicy {
        if container.isEphemeral { return .never }
        guard container.isInit else { return restartPolicy }
        if container.isSidecar { return .always }
        return restartPolicy == .never ? .never : .onFailure
    }

    /// A short name of the pod's own for namespaces and links: 12 hexadecimal digits of a hash of
    /// the UID (FNV-1a, 64 bits), since a link's name has 15 characters at most.
    var shortID: String { Self.shortID(uid: uid) }

    /// The short name of the pod with `uid`.
    static func shortID(uid: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in uid.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let text = String(hash >> 16, radix: 16)
        return String(repeating: "0", count: 12 - text.utf8.count) + text
    }
}

/// What a container asks for.
struct ContainerSpecification: Sendable, Hashable {
    var name: String
    var image: String
    var json: JSONValue
    var isInit: Bool
    /// An init container with `restartPolicy: Always` (KEP-753).
    var isSidecar: Bool
    /// Added while the pod ran (KEP-277).
    var isEphemeral = false
    var imagePullPolicy: String
    var usesTerminal: Bool
    /// What the container's standard input is.
    var standardInput: StandardInput
    var startupProbe: ProbeSpecification?
    var livenessProbe: ProbeSpecification?
    var readinessProbe: ProbeSpecification?

    /// What a container reads from.
    enum StandardInput: Sendable, Hashable {
        case none
        /// Open until the first client that attached has said all.
        case once
        /// Open for one client after another.
        case open
    }

    /// Reads an entry of `spec.containers` or `spec.initContainers`.
    init(json: JSONValue, isInit: Bool) {
        self.json = json
        self.isInit = isInit
        name = json["name"]?.string ?? ""
        image = json["image"]?.string ?? ""
        isSidecar = isInit && json["restartPolicy"]?.string == "Always"
        imagePullPolicy = json["imagePullPolicy"]?.string ?? "IfNotPresent"
        usesTerminal = json["tty"]?.bool ?? false
        standardInput =
            json["stdin"]?.bool != true ? .none : json["stdinOnce"]?.bool == true ? .once : .open
        func probe(_ field: String) -> ProbeSpecification? {
            guard !isInit || json["restartPolicy"]?.string == "Always" else { return nil }
            return json[field].flatMap(ProbeSpecification.init(json:))
        }
        startupProbe = probe("startupProbe")
        livenessProbe = probe("livenessProbe")
        readinessProbe = probe("readinessProbe")
    }

    /// The number of a port given as a number or by the name of a container port.
    func port(_ value: JSONValue?) -> Int? {
        guard let value else { return nil }
        if let number = value.int { return number }
        guard let text = value.string else { return nil }
        if let number = Int(text) { return number }
        return (json["ports"]?.array ?? []).first { $0["name"]?.string == text }?["containerPort"]?
            .int
    }
}

/// A probe with Kubernetes' defaults filled in.
struct ProbeSpecification: Sendable, Hashable {
    var handler: ProbeHandler
    var initialDelaySeconds: Int
    var timeoutSeconds: Int
    var periodSeconds: Int
    var successThreshold: Int
    var failureThreshold: Int
    /// Seconds a container gets to end after a failed liveness or startup probe, or nil.
    var gracePeriodSeconds: Int?

    /// Reads a probe; nil where it has no handler.
    init?(json: JSONValue) {
        guard let handler = ProbeHandler(json: json) else { return nil }
        self.handler = handler
        initialDelaySeconds = json["initialDelaySeconds"]?.int ?? 0
        timeoutSeconds = max(1, json["timeoutSeconds"]?.int ?? 1)
        periodSeconds = max(1, json["periodSeconds"]?.int ?? 10)
        successThreshold = max(1, json["successThreshold"]?.int ?? 1)
        failureThreshold = max(1, json["failureThreshold"]?.int ?? 3)
        gracePeriodSeconds = json["terminationGracePeriodSeconds"]?.int
    }
}

/// What a probe or a lifecycle hook does.
enum ProbeHandler: Sendable, Hashable {
    case exec([String])
    /// Path, port (a number or a name), scheme, host (nil for the pod's address), headers.
    case httpGet(path: String, port: JSONValue, scheme: String, host: String?, headers: [Header])
    case tcpSocket(port: JSONValue, host: String?)
    case sleep(seconds: Int)

    /// A header of an HTTP probe.
    struct Header: Sendable, Hashable {
        var name: String
        var value: String
    }

    /// Reads the handler of a probe or hook; nil for none that is known.
    init?(json: JSONValue) {
        if let exec = json["exec"] {
            self = .exec((exec["command"]?.array ?? []).compactMap(\.string))
        } else if let get = json["httpGet"], let port = get["port"] {
            let path = get["path"]?.string ?? "/"
            let headers = (get["httpHeaders"]?.array ?? []).map {
                Header(name: $0["name"]?.string ?? "", value: $0["value"]?.string ?? "")
            }
            self = .httpGet(
                path: path.hasPrefix("/") ? path : "/" + path, port: port,
                scheme: get["scheme"]?.string ?? "HTTP", host: get["host"]?.string,
                headers: headers)
        } else if let tcp = json["tcpSocket"], let port = tcp["port"] {
            self = .tcpSocket(port: port, host: tcp["host"]?.string)
        } else if let seconds = json["sleep", "seconds"]?.int {
            self = .sleep(seconds: seconds)
        } else {
            return nil
        }
    }
}
