/// The name of an image: `[registry/]repository[:tag][@digest]`, as Docker reads it.
struct ImageReference: Hashable, Sendable, CustomStringConvertible {
    /// The name with what Docker leaves out: `docker.io/library/nginx`.
    let repository: String
    /// The tag; `latest` where there is neither tag nor digest, empty beside a digest.
    let tag: String
    /// `sha256:…`, or nil.
    let digest: String?

    /// The built-in image this names, whatever its tag, or nil.
    var builtIn: BuiltInImage? {
        switch repository {
        case "docker.io/portolan/hostname": .hostname
        case "docker.io/portolan/shell": .shell
        default: nil
        }
    }

    /// Reads a name; nil for one that is none.
    init?(_ text: String) {
        var rest = text[...]
        var digest: String?
        if let at = rest.lastIndex(of: "@") {
            digest = String(rest[rest.index(after: at)...])
            rest = rest[..<at]
        }
        var tag = digest == nil ? "latest" : ""
        let nameStart = rest.lastIndex(of: "/").map { rest.index(after: $0) } ?? rest.startIndex
        if let colon = rest[nameStart...].lastIndex(of: ":") {
            tag = String(rest[rest.index(after: colon)...])
            rest = rest[..<colon]
        }
        let isAllowed: (UInt8) -> Bool = {
            (97...122).contains($0) || (45...58).contains($0) || $0 == 95
                || (65...90).contains($0)
        }
        guard !rest.isEmpty, rest.utf8.allSatisfy(isAllowed), tag.utf8.allSatisfy(isAllowed),
            (digest ?? "").utf8.allSatisfy(isAllowed), !rest.contains(".."), !rest.contains("//")
        else { return nil }
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        let hasRegistry =
            parts.count > 1
            && (parts[0].contains(".") || parts[0].contains(":") || parts[0] == "localhost")
        if hasRegistry {
            repository = String(rest)
        } else if parts.count == 1 {
            repository = "docker.io/library/\(rest)"
        } else {
            repository = "docker.io/\(rest)"
        }
        self.tag = tag
        self.digest = digest
    }

    /// The full name.
    var description: String {
        if let digest { return "\(repository)@\(digest)" }
        return "\(repository):\(tag)"
    }

    /// The name as one path component: slashes, colons and at signs become other characters.
    var directoryName: String {
        description.replacing("/", with: "_").replacing(":", with: "+").replacing("@", with: "+")
    }
}

/// The images that need no registry.
enum BuiltInImage: String, Sendable, Hashable {
    case hostname = "portolan/hostname"
    case shell = "portolan/shell"
}
