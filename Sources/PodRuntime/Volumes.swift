import Glibc
import Informer
import JSON
import KubernetesAPI

/// Lays out the volumes of a pod below its directory.
struct Volumes: Sendable {
    /// The pod's directory.
    var directory: String
    var pod: PodSpecification
    var client: any KubernetesClient
    var tokens: ProjectedTokens
    /// `status.podIP` and the like.
    var statusFields: [String: String]

    /// A file of a volume that is made from the API.
    struct File: Hashable, Sendable {
        var path: String
        var bytes: [UInt8]
        var mode: mode_t
    }

    /// Makes every volume of the pod, or brings it up to date.
    /// - Returns: the path of each on the machine.
    /// - Throws: `ContainerConfigError` naming the volume and what is missing.
    func prepare() async throws -> [String: String] {
        var paths: [String: String] = [:]
        for volume in pod.json["spec", "volumes"]?.array ?? [] {
            let name = volume["name"]?.string ?? ""
            do {
                paths[name] = try await prepare(volume, name)
            } catch {
                throw ContainerConfigError(
                    "volume \"\(name)\": \(error)", reason: "ContainerCreating")
            }
        }
        return paths
    }

    private func prepare(_ volume: JSONValue, _ name: String) async throws -> String {
        let place = directory + "/volumes/" + name
        if let source = volume["hostPath"] {
            return try hostPath(source["path"]?.string ?? "", source["type"]?.string ?? "")
        }
        if let source = volume["emptyDir"] {
            try await Blocking.run { try emptyDirectory(source, place) }
            return place
        }
        guard let files = try await files(of: volume) else {
            throw ContainerConfigError("this kind of volume is not supported by Portolan")
        }
        try await Blocking.run { try Self.write(files, to: place) }
        return place
    }

    private func hostPath(_ path: String, _ type: String) throws -> String {
        switch type {
        case "DirectoryOrCreate": try Files.makeDirectories(path)
        case "FileOrCreate": if !Files.exists(path) { try Files.write(path, []) }
        case "Directory":
            guard Files.isDirectory(path) else {
                throw ContainerConfigError("hostPath \(path) is not a directory")
            }
        case "", "File", "Socket", "CharDevice", "BlockDevice":
            if type.isEmpty, !Files.exists(path) { try Files.makeDirectories(path) }
            guard Files.exists(path) else {
                throw ContainerConfigError("hostPath \(path) does not exist")
            }
        default: throw ContainerConfigError("hostPath type \"\(type)\" is unknown")
        }
        return path
    }

    private func emptyDirectory(_ source: JSONValue, _ place: String) throws {
        if Files.isDirectory(place) { return }
        try Files.makeDirectories(place)
        if source["medium"]?.string == "Memory" {
            let size = quantityText(source["sizeLimit"]).flatMap { Quantity($0) }?.value
            try Mounts.tmpfs(at: place, mode: "0777", sizeByteCount: size)
        }
        chmod(place, 0o777)
    }

    // MARK: - Volumes made from the API

    /// The files of a volume, or nil for a kind that is not made from the API.
    private func files(of volume: JSONValue) async throws -> [File]? {
        if volume["configMap"] != nil || volume["secret"] != nil || volume["downwardAPI"] != nil {
            let mode = Self.mode(
                volume["configMap", "defaultMode"] ?? volume["secret", "defaultMode"]
                    ?? volume["downwardAPI", "defaultMode"], 0o644)
            return try await files(source: volume, mode: mode, nameField: "secretName")
        }
        guard let projected = volume["projected"] else { return nil }
        let mode = Self.mode(projected["defaultMode"], 0o644)
        var files: [File] = []
        for source in projected["sources"]?.array ?? [] {
            if let token = source["serviceAccountToken"] {
                files.append(try await tokenFile(token))
            } else {
                files += try await self.files(source: source, mode: mode, nameField: "name")
            }
        }
        return files
    }

    private func files(
        source: JSONValue, mode: mode_t, nameField: String
    ) async throws -> [File] {
        if let configMap = source["configMap"] {
            let name = configMap["name"]?.string ?? ""
            return try await keyFiles(.configMaps, name, configMap, mode)
        }
        if let secret = source["secret"] {
            let name = (secret[nameField] ?? secret["name"])?.string ?? ""
            return try await keyFiles(.secrets, name, secret, mode)
        }
        return try (source["downwardAPI", "items"]?.array ?? []).map { item in
            let text: String
            if let path = item["fieldRef", "fieldPath"]?.string {
                text = try DownwardFields.value(path, pod.json, statusFields)
            } else {
                text = DownwardFields.resource(
                    item["resourceFieldRef"] ?? [:], pod.json, default: "")
            }
            return File(
                path: item["path"]?.string ?? "", bytes: Array(text.utf8),
                mode: Self.mode(item["mode"], mode))
        }
    }

    private func keyFiles(
        _ resource: Resource, _ name: String, _ source: JSONValue, _ mode: mode_t
    ) async throws -> [File] {
        let object: JSONValue
        do {
            object = try await client.get(resource, namespace: pod.key.namespace, name: name)
        } catch let error as StatusError where error.isNotFound {
            if source["optional"]?.bool == true { return [] }
            throw ContainerConfigError(
                "\(resource.kind) \(pod.key.namespace)/\(name) does not exist: create it and the "
                    + "pod starts")
        }
        return try Self.keyFiles(ObjectData(object).values, source, mode, name: name)
    }

    /// The files of a ConfigMap's or Secret's keys: those that `items` name, or all.
    static func keyFiles(
        _ values: [String: [UInt8]], _ source: JSONValue, _ mode: mode_t, name: String
    ) throws -> [File] {
        guard let items = source["items"]?.array, !items.isEmpty else {
            return values.sorted { $0.key < $1.key }
                .map { File(path: $0.key, bytes: $0.value, mode: mode) }
        }
        return try items.compactMap { item in
            let key = item["key"]?.string ?? ""
            guard let bytes = values[key] else {
                if source["optional"]?.bool == true { return nil }
                throw ContainerConfigError("\"\(name)\" has no key \"\(key)\"")
            }
            return File(
                path: item["path"]?.string ?? key, bytes: bytes, mode: Self.mode(item["mode"], mode)
            )
        }
    }

    private func tokenFile(_ source: JSONValue) async throws -> File {
        let key = ProjectedTokens.Key(
            audience: source["audience"]?.string ?? "",
            expirationSeconds: source["expirationSeconds"]?.integer ?? 3607)
        let token = try await tokens.token(key) { try await requestToken(key) }
        return File(
            path: source["path"]?.string ?? "token", bytes: Array(token.utf8), mode: 0o644)
    }

    /// Asks for a token by the TokenRequest API; it ends with the pod.
    private func requestToken(
        _ key: ProjectedTokens.Key
    ) async throws -> (token: String, expires: Timestamp) {
        let account = pod.serviceAccountName
        // A subresource that is created: its path is that of a collection of this name.
        let resource = Resource(
            plural: "serviceaccounts/\(account)/token", kind: "TokenRequest")
        var spec: JSONValue = [
            "expirationSeconds": .integer(key.expirationSeconds),
            "boundObjectRef": [
                "kind": "Pod", "apiVersion": "v1", "name": .string(pod.key.name),
                "uid": .string(pod.uid),
            ],
        ]
        if !key.audience.isEmpty { spec["audiences"] = [.string(key.audience)] }
        let answer = try await client.create(
            resource,
            [
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "metadata": ["namespace": .string(pod.key.namespace)], "spec": spec,
            ])
        guard let token = answer["status", "token"]?.string else {
            throw ContainerConfigError("the API server gave no token for \(account)")
        }
        let expires = answer["status", "expirationTimestamp"]?.string.flatMap { Timestamp($0) }
        return (token, expires ?? .now.adding(seconds: Double(key.expirationSeconds)))
    }

    private static func mode(_ value: JSONValue?, _ fallback: mode_t) -> mode_t {
        value?.int.map { mode_t(truncatingIfNeeded: $0 & 0o777) } ?? fallback
    }

    /// Writes files so that a reader sees the old ones or the new ones, never a mix: a fresh
    /// directory, then `..data` is switched to it (kubelet's AtomicWriter has the same layout).
    static func write(_ files: [File], to place: String) throws {
        try Files.makeDirectories(place)
        let current = (try? linkTarget(place + "/..data")) ?? nil
        if let current, isSame(files, place + "/" + current) { return }
        let fresh = "..\(Timestamp.now.nanoseconds)"
        try Files.makeDirectories(place + "/" + fresh)
        for file in files {
            let parts = file.path.split(separator: "/")
            guard !parts.isEmpty, !parts.contains("..") else {
                throw ContainerConfigError("path \"\(file.path)\" leaves the volume")
            }
            let path = place + "/" + fresh + "/" + file.path
            if parts.count > 1, let slash = path.lastIndex(of: "/") {
                try Files.makeDirectories(String(path[..<slash]))
            }
            try Files.write(path, file.bytes, mode: file.mode)
        }
        unlink(place + "/..data_new")
        guard symlink(fresh, place + "/..data_new") == 0,
            rename(place + "/..data_new", place + "/..data") == 0
        else { throw SystemError("switch \(place)/..data") }
        let names = Set(files.compactMap { $0.path.split(separator: "/").first.map(String.init) })
        for name in Files.names(in: place) where !name.hasPrefix("..") && !names.contains(name) {
            unlink(place + "/" + name)
        }
        for name in names where !Files.exists(place + "/" + name) {
            unlink(place + "/" + name)
            symlink("..data/" + name, place + "/" + name)
        }
        if let current { Files.removeTree(place + "/" + current) }
    }

    private static func isSame(_ files: [File], _ directory: String) -> Bool {
        files.allSatisfy { (try? Files.read(directory + "/" + $0.path)) == $0.bytes }
            && Files.names(in: directory).count
                == Set(files.map { $0.path.split(separator: "/").first ?? "" }).count
    }

    private static func linkTarget(_ path: String) throws -> String? {
        var buffer = [CChar](repeating: 0, count: 1024)
        let count = readlink(path, &buffer, buffer.count)
        guard count >= 0 else { return nil }
        return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

/// `data` and `binaryData` of a ConfigMap, or `data` of a Secret, decoded.
struct ObjectData: Sendable {
    /// The bytes by key.
    private(set) var values: [String: [UInt8]] = [:]

    /// Reads an object; a Secret's data, and binaryData, are base64.
    init(_ object: JSONValue) {
        let isSecret = object["kind"]?.string == "Secret" || object["type"] != nil
        for (key, text) in object["data"]?.stringMap ?? [:] {
            values[key] = isSecret ? Base64.decode(text) ?? [] : Array(text.utf8)
        }
        for (key, text) in object["binaryData"]?.stringMap ?? [:] {
            values[key] = Base64.decode(text) ?? []
        }
        for (key, text) in object["stringData"]?.stringMap ?? [:] { values[key] = Array(text.utf8) }
    }

    /// The values as text.
    var texts: [String: String] { values.mapValues { String(decoding: $0, as: UTF8.self) } }
}
