import JSON

/// All that a container's `config.json` (OCI runtime specification 1.0.2) depends on. Making it is
/// pure; whoever calls has resolved images, volumes and variables.
struct Bundle: Sendable {
    var container: ContainerSpecification
    var pod: PodSpecification
    var image: ImageConfiguration
    var environment: [(name: String, value: String)]
    /// Volumes and the files of the pod, in the order they are to be mounted.
    var mounts: [BundleMount]
    /// The path of the pod's network namespace, or nil for the node's own.
    var networkNamespacePath: String?
    /// The path of the pod's IPC and UTS namespaces, or nil for the node's own.
    var ipcNamespacePath: String?
    var utsNamespacePath: String?
    /// The cgroup, as an absolute path below each controller.
    var cgroupPath: String
    /// The namespace of another container's processes; nil for one of its own, or the node's.
    var processNamespacePath: String?
    /// The user and groups, once names are looked up in the image.
    var user: ContainerUser
}

/// One bind mount of a container.
struct BundleMount: Sendable, Hashable {
    var source: String
    var destination: String
    var isReadOnly: Bool
    /// `rprivate`, `rslave` or `rshared`.
    var propagation = "rprivate"
}

/// Who runs in a container.
struct ContainerUser: Sendable, Hashable {
    var uid: Int64
    var gid: Int64
    var additionalGids: [Int64]
}

/// What an image says of its containers (OCI image configuration).
struct ImageConfiguration: Sendable, Hashable {
    var entrypoint: [String] = []
    var command: [String] = []
    var environment: [String] = []
    var workingDirectory = ""
    /// `user[:group]`, names or numbers; empty for root.
    var user = ""
}

extension Bundle {
    /// The capabilities that containerd gives by default.
    static let defaultCapabilities = [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
        "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
    ]

    /// Every capability the kernel knows up to CAP_CHECKPOINT_RESTORE (linux/capability.h).
    static let allCapabilities = [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
        "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN",
        "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE",
        "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
        "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
        "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    ].map { "CAP_" + $0 }

    /// The `config.json` of the container.
    /// - Throws: `ContainerConfigError` where there is nothing to run.
    func configuration() throws -> JSONValue {
        var linux: JSONValue = [
            "cgroupsPath": .string(cgroupPath), "resources": resources,
            "namespaces": .array(namespaces),
        ]
        if !isPrivileged {
            linux["maskedPaths"] = strings([
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
                "/sys/firmware",
            ])
            linux["readonlyPaths"] = strings([
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ])
        }
        var value: JSONValue = [
            "ociVersion": "1.0.2", "process": try process,
            "root": [
                "path": "rootfs",
                "readonly": .bool(securityContext["readOnlyRootFilesystem"]?.bool ?? false),
            ],
            "mounts": .array(allMounts), "linux": linux,
        ]
        if utsNamespacePath == nil, !pod.usesHostNetwork {
            value["hostname"] = .string(pod.hostname)
        }
        return value
    }

    private var securityContext: JSONValue { container.json["securityContext"] ?? [:] }
    private var isPrivileged: Bool { securityContext["privileged"]?.bool ?? false }
    private func strings(_ values: [String]) -> JSONValue { .array(values.map(JSONValue.string)) }

    // MARK: - Process

    private var process: JSONValue {
        get throws {
            let allowed: JSONValue = strings(capabilities)
            let inherited = user.uid == 0 ? allowed : .array([])
            let workingDirectory = container.json["workingDir"]?.string ?? image.workingDirectory
            var value: JSONValue = [
                "terminal": .bool(container.usesTerminal),
                "user": [
                    "uid": .integer(user.uid), "gid": .integer(user.gid),
                    "additionalGids": .array(user.additionalGids.map(JSONValue.integer)),
                ],
                "args": strings(try arguments),
                "env": strings(allEnvironment),
                "cwd": .string(workingDirectory.isEmpty ? "/" : workingDirectory),
                "capabilities": [
                    "bounding": allowed, "effective": inherited, "permitted": inherited,
                ],
                "noNewPrivileges": .bool(
                    securityContext["allowPrivilegeEscalation"]?.bool == false && !isPrivileged),
            ]
            value["oomScoreAdj"] = 0
            return value
        }
    }

    /// What runs: `command` replaces the image's entrypoint and its command, `args` the command
    /// only; `$(NAME)` is replaced.
    var arguments: [String] {
        get throws {
            let values = Dictionary(environment.map { ($0.name, $0.value) }) { $1 }
            func expanded(_ field: String) -> [String]? {
                container.json[field]?.array.flatMap { elements in
                    elements.isEmpty ? nil : elements.compactMap(\.string)
                }?.map { ContainerEnvironment.expand($0) { values[$0] } }
            }
            let result: [String]
            switch (expanded("command"), expanded("args")) {
            case (let command?, let arguments): result = command + (arguments ?? [])
            case (nil, let arguments?): result = image.entrypoint + arguments
            case (nil, nil): result = image.entrypoint + image.command
            }
            guard !result.isEmpty else {
                throw ContainerConfigError(
                    "no command specified: the image has none, set command",
                    reason: "CreateContainerError")
            }
            return result
        }
    }

    private var allEnvironment: [String] {
        var variables = environment
        func add(_ name: String, _ value: String) {
            if !variables.contains(where: { $0.name == name }) { variables.append((name, value)) }
        }
        add("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        add("HOME", user.uid == 0 ? "/root" : "/")
        if container.usesTerminal { add("TERM", "xterm") }
        return variables.map { "\($0.name)=\($0.value)" }
    }

    /// The default set with `capabilities.add` and without `capabilities.drop`.
    var capabilities: [String] {
        if isPrivileged { return Self.allCapabilities }
        func names(_ field: String) -> [String] {
            (securityContext["capabilities", field]?.array ?? []).compactMap(\.string)
                .map { $0.uppercased() }
                .map { $0.hasPrefix("CAP_") || $0 == "ALL" ? $0 : "CAP_" + $0 }
        }
        let added = names("add")
        let dropped = Set(names("drop"))
        var result = dropped.contains("ALL") ? [] : Self.defaultCapabilities
        if added.contains("ALL") { result = Self.allCapabilities }
        result.removeAll { dropped.contains($0) }
        for name in added where Self.allCapabilities.contains(name) && !result.contains(name) {
            result.append(name)
        }
        return result
    }

    // MARK: - Namespaces and resources

    private var namespaces: [JSONValue] {
        var result: [JSONValue] = [["type": "mount"], ["type": "cgroup"]]
        if let path = processNamespacePath {
            result.append(["type": "pid", "path": .string(path)])
        } else if pod.json["spec", "hostPID"]?.bool != true {
            result.append(["type": "pid"])
        }
        for (type, path) in [
            ("network", networkNamespacePath), ("ipc", ipcNamespacePath),
            ("uts", utsNamespacePath),
        ] {
            if let path { result.append(["type": .string(type), "path": .string(path)]) }
        }
        return result
    }

    private var resources: JSONValue {
        let limits = container.json["resources", "limits"]
        let requests = container.json["resources", "requests"]
        var value: JSONValue = ["pids": ["limit": 32768]]
        if isPrivileged {
            value["devices"] = [["allow": true, "access": "rwm"]]
        } else {
            value["devices"] = [["allow": false, "access": "rwm"]]
        }
        if let limit = quantityText(limits?["memory"]).flatMap({ Quantity($0) }), limit.value > 0 {
            value["memory"] = ["limit": .integer(limit.value)]
        }
        let request = quantityText(requests?["cpu"]) ?? quantityText(limits?["cpu"])
        let millis = request.flatMap { Quantity($0) }?.thousandths ?? 0
        // kubelet's MilliCPUToShares: 1024 shares a core, 2 at least, 262144 at most.
        let shares = min(max(millis * 1024 / 1000, 2), 262_144)
        var cpu: JSONValue = ["shares": .integer(shares)]
        if let limit = quantityText(limits?["cpu"]).flatMap({ Quantity($0) }), limit.thousandths > 0
        {
            // A quota below 1 ms in a period of 100 ms is refused by the kernel.
            cpu["quota"] = .integer(max(limit.thousandths * 100, 1000))
            cpu["period"] = 100_000
        }
        value["cpu"] = cpu
        return value
    }

    // MARK: - Mounts

    private var allMounts: [JSONValue] {
        let sysMode = isPrivileged ? "rw" : "ro"
        var result: [JSONValue] = [
            kernelMount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
            kernelMount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            kernelMount(
                "/dev/pts", "devpts",
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            kernelMount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        ]
        result.append(kernelMount("/sys", "sysfs", ["nosuid", "noexec", "nodev", sysMode]))
        let own = Set(mounts.map(\.destination))
        if !own.contains("/dev/shm") {
            result.append(
                kernelMount(
                    "/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]))
        }
        // A mount that lies inside another one comes after it.
        let ordered = mounts.enumerated().sorted {
            let (left, right) = (depth($0.element), depth($1.element))
            return (left, $0.offset) < (right, $1.offset)
        }
        return result + ordered.map { bind($0.element) }
    }

    private func depth(_ mount: BundleMount) -> Int {
        mount.destination.split(separator: "/").count
    }

    private func kernelMount(_ destination: String, _ type: String, _ options: [String])
        -> JSONValue
    {
        [
            "destination": .string(destination), "type": .string(type), "source": .string(type),
            "options": strings(options),
        ]
    }

    private func bind(_ mount: BundleMount) -> JSONValue {
        [
            "destination": .string(mount.destination), "type": "bind",
            "source": .string(mount.source),
            "options": strings(["rbind", mount.propagation, mount.isReadOnly ? "ro" : "rw"]),
        ]
    }
}
