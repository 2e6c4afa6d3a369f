import Glibc
import Informer
import JSON
import Netlink

/// What a container is made from.
struct Image: Sendable {
    /// The read-only layers of the root, uppermost first.
    var lowerDirectories: [String]
    /// Directories and files of the machine that belong to the image, read-only.
    var mounts: [BundleMount]
    var configuration: ImageConfiguration
    /// The name as containerStatuses show it.
    var name: String
    /// `name@sha256:…`, or the name of a built-in image.
    var id: String
}

/// An image that cannot be had.
struct ImageError: Error, CustomStringConvertible {
    /// `ErrImagePull`, `ErrImageNeverPull` or `InvalidImageName`.
    var reason = "ErrImagePull"
    let description: String
}

/// The images of a node: the built-in ones, and those unpacked in its image directory.
///
/// An image REPOSITORY:TAG lives in `DIRECTORY/NAME` with `oci` (an OCI layout, tag `image`) and
/// `rootfs` (unpacked). One that was put into `oci` by hand is unpacked when it is first needed.
actor ImageStore {
    private let directory: String
    private let executablePath: String
    /// Pulls under way; whoever asks for the same image waits for the same pull.
    private var pulls: [ImageReference: Task<Image, any Error>] = [:]
    /// What the executable needs from outside /usr, once it is known.
    private var libraryMounts: [BundleMount]?
    /// Time a registry gets to hand over an image, in milliseconds.
    private static let pullTimeoutMilliseconds = 600_000

    /// - Parameter executablePath: the portolan executable, which serves `portolan/hostname`.
    init(directory: String, executablePath: String) {
        self.directory = directory
        self.executablePath = executablePath
    }

    /// Finds an image, or pulls it.
    /// - Throws: `ImageError` saying what to do.
    func image(_ name: String, policy: String) async throws -> Image {
        guard let reference = ImageReference(name) else {
            throw ImageError(
                reason: "InvalidImageName",
                description: "\"\(name)\" is no image name: use [REGISTRY/]NAME[:TAG]")
        }
        if let builtIn = reference.builtIn { return try await builtInImage(builtIn, name: name) }
        let local = try? await Blocking.run { [directory] in
            try Self.unpacked(reference, in: directory, name: name)
        }
        if let local, policy != "Always" { return local }
        if policy == "Never" {
            throw ImageError(
                reason: "ErrImageNeverPull",
                description: "image \"\(name)\" is not on this node and the pull policy is Never")
        }
        do {
            return try await pull(reference, name: name)
        } catch {
            // An image put here by hand serves where no registry can be asked for a newer one.
            if let local { return local }
            throw error
        }
    }

    private func pull(_ reference: ImageReference, name: String) async throws -> Image {
        if let running = pulls[reference] { return try await running.value }
        let task = Task { [directory] in
            try await Blocking.run {
                try Self.fetch(reference, into: directory, name: name)
                return try Self.unpacked(reference, in: directory, name: name)
            }
        }
        pulls[reference] = task
        defer { pulls[reference] = nil }
        return try await task.value
    }

    /// Copies an image from its registry into the image directory. Blocking.
    private static func fetch(_ reference: ImageReference, into directory: String, name: String)
        throws
    {
        let place = directory + "/" + reference.directoryName
        let fresh = place + ".new"
        Files.removeTree(fresh)
        try Files.makeDirectories(fresh)
        defer { Files.removeTree(fresh) }
        let arguments = ["copy", "--quiet", "docker://\(reference)", "oci:\(fresh)/oci:image"]
        let result: CommandResult
        do {
            // In the namespace of who started the node: the machine's resolvers may be reached by
            // the machine alone, as those on its loopback are.
            let machine = try NetworkNamespace.open(processID: getppid())
            result = try NetworkNamespace.withThread(in: machine) {
                try Command("/usr/bin/skopeo", arguments)
                    .runBlocking(timeoutMilliseconds: pullTimeoutMilliseconds)
            }
        } catch {
            throw ImageError(
                description: "image \"\(name)\" cannot be pulled without skopeo and umoci: "
                    + "apt-get install skopeo umoci, or use portolan/hostname or portolan/shell")
        }
        guard result.exitCode == 0 else {
            let reason = result.isTimedOut ? "no answer in time" : lastMessage(result.errorText)
            throw ImageError(
                description: "this machine could not pull \"\(name)\": \(reason). Use "
                    + "portolan/hostname or portolan/shell, which need no registry, or load the "
                    + "image by hand: skopeo copy SOURCE oci:\(place)/oci:image")
        }
        Files.removeTree(place)
        guard rename(fresh, place) == 0 else { throw SystemError("rename \(place)") }
    }

    /// Reads an image of the image directory, unpacking it where that was not done. Blocking.
    private static func unpacked(_ reference: ImageReference, in directory: String, name: String)
        throws -> Image
    {
        let place = directory + "/" + reference.directoryName
        let layout = place + "/oci"
        guard Files.exists(layout + "/index.json") else {
            throw ImageError(description: "image \"\(name)\" is not on this node")
        }
        let root = place + "/unpacked/rootfs"
        if !Files.isDirectory(root) {
            Files.removeTree(place + "/unpacking")
            let result = try Command(
                "/usr/bin/umoci", ["unpack", "--image", layout + ":image", place + "/unpacking"]
            ).runBlocking(timeoutMilliseconds: pullTimeoutMilliseconds)
            guard result.exitCode == 0 else {
                throw ImageError(
                    description:
                        "image \"\(name)\" cannot be unpacked: \(lastMessage(result.errorText))")
            }
            Files.removeTree(place + "/unpacked")
            guard rename(place + "/unpacking", place + "/unpacked") == 0 else {
                throw SystemError("rename \(place)/unpacked")
            }
        }
        let (configuration, digest) = try self.configuration(layout)
        return Image(
            lowerDirectories: [root], mounts: [], configuration: configuration, name: name,
            id: "\(reference.repository)@\(digest)")
    }

    // MARK: - OCI layout

    /// Reads the configuration and the manifest's digest of the tag `image`, or of the only image,
    /// of an OCI layout (OCI image specification, image-layout.md).
    static func configuration(_ layout: String) throws -> (ImageConfiguration, digest: String) {
        let index = try JSONValue(parsing: Files.read(layout + "/index.json"))
        let manifests = index["manifests"]?.array ?? []
        let tagged = manifests.first {
            $0["annotations", "org.opencontainers.image.ref.name"]?.string == "image"
        }
        guard let digest = (tagged ?? manifests.first)?["digest"]?.string else {
            throw ImageError(description: "\(layout) holds no image")
        }
        let manifest = try blob(digest, layout)
        guard let configurationDigest = manifest["config", "digest"]?.string else {
            throw ImageError(description: "\(layout) holds an image without configuration")
        }
        let json = try blob(configurationDigest, layout)["config"] ?? [:]
        func strings(_ field: String) -> [String] {
            (json[field]?.array ?? []).compactMap(\.string)
        }
        return (
            ImageConfiguration(
                entrypoint: strings("Entrypoint"), command: strings("Cmd"),
                environment: strings("Env"), workingDirectory: json["WorkingDir"]?.string ?? "",
                user: json["User"]?.string ?? ""), digest
        )
    }

    private static func blob(_ digest: String, _ layout: String) throws -> JSONValue {
        let path = layout + "/blobs/" + digest.replacing(":", with: "/")
        return try JSONValue(parsing: Files.read(path))
    }

    // MARK: - Built-in images

    private func builtInImage(_ image: BuiltInImage, name: String) async throws -> Image {
        let root = directory + "/built-in"
        try await Blocking.run { try BuiltInRoot.lay(out: root) }
        var mounts = BuiltInRoot.mounts
        var configuration = ImageConfiguration()
        switch image {
        case .hostname:
            let inside = "/portolan"
            mounts.append(
                BundleMount(source: executablePath, destination: inside, isReadOnly: true))
            if libraryMounts == nil {
                libraryMounts = try await Blocking.run { [executablePath] in
                    BuiltInRoot.libraryMounts(of: executablePath)
                }
            }
            mounts += libraryMounts ?? []
            configuration.entrypoint = [inside, "hostname-server"]
        case .shell:
            configuration.command = ["/bin/bash"]
        }
        return Image(
            lowerDirectories: [root], mounts: mounts, configuration: configuration, name: name,
            id: image.rawValue)
    }
}
