import Glibc

/// The root of the built-in images: the machine's /usr read-only, links into it, and a small
/// generated /etc. Nothing else of the machine is seen.
enum BuiltInRoot {
    /// What the machine lends to built-in images.
    static var mounts: [BundleMount] {
        var result = [BundleMount(source: "/usr", destination: "/usr", isReadOnly: true)]
        // Certificate authorities are public, and programs look for them here.
        for path in ["/etc/ssl/certs", "/etc/alternatives"] where Files.isDirectory(path) {
            result.append(BundleMount(source: path, destination: path, isReadOnly: true))
        }
        return result
    }

    /// Directories of shared libraries that an executable needs from outside /usr, as a build that
    /// does not carry Swift's libraries does.
    static func libraryMounts(of executable: String) -> [BundleMount] {
        guard let result = try? Command("/usr/bin/ldd", [executable]).runBlocking(),
            result.exitCode == 0
        else { return [] }
        var directories: [String] = []
        for line in String(decoding: result.output, as: UTF8.self).split(separator: "\n") {
            guard let arrow = line.firstRange(of: " => /") else { continue }
            let path = line[line.index(before: arrow.upperBound)...].prefix { $0 != " " }
            guard let slash = path.lastIndex(of: "/") else { continue }
            let directory = String(path[..<slash])
            let isCovered = ["/usr/", "/lib/", "/lib64/"].contains {
                (directory + "/").hasPrefix($0)
            }
            if !isCovered, !directories.contains(directory) { directories.append(directory) }
        }
        return directories.map { BundleMount(source: $0, destination: $0, isReadOnly: true) }
    }

    /// Lays out the root; quick where it is there already. Several may do so at once: each makes one
    /// of its own, and the first to finish gives it the name. Blocking.
    static func lay(out place: String) throws {
        if Files.isDirectory(place) { return }
        let root = "\(place).\(getpid()).\(UInt64.random(in: 0 ... .max))"
        defer { Files.removeTree(root) }
        try make(root)
        guard rename(root, place) == 0 || Files.isDirectory(place) else {
            throw SystemError("rename \(place)")
        }
    }

    private static func make(_ root: String) throws {
        let directories = [
            "dev", "etc/ssl/certs", "etc/alternatives", "home", "mnt", "opt", "proc", "root",
            "run", "srv", "sys", "usr", "var/lib", "var/cache", "var/log", "var/spool",
        ]
        for directory in directories { try Files.makeDirectories(root + "/" + directory) }
        chmod(root + "/root", 0o700)
        for directory in ["tmp", "var/tmp"] {
            try Files.makeDirectories(root + "/" + directory)
            chmod(root + "/" + directory, 0o1777)
        }
        link("var/run", to: "/run", in: root)
        // On a merged /usr these are links into it; where they are directories, it is the same.
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            if Files.exists("/usr/" + name) { link(name, to: "usr/" + name, in: root) }
        }
        for (name, text) in files {
            try Files.write(root + "/etc/" + name, Array(text.utf8))
        }
    }

    private static func link(_ name: String, to target: String, in root: String) {
        unlink(root + "/" + name)
        symlink(target, root + "/" + name)
    }

    /// The files of /etc.
    private static let files = [
        (
            "passwd",
            """
            root:x:0:0:root:/root:/bin/bash
            daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
            bin:x:2:2:bin:/bin:/usr/sbin/nologin
            sys:x:3:3:sys:/dev:/usr/sbin/nologin
            mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
            www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
            nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin

            """
        ),
        (
            "group",
            """
            root:x:0:
            daemon:x:1:
            bin:x:2:
            sys:x:3:
            tty:x:5:
            mail:x:8:
            www-data:x:33:
            nogroup:x:65534:

            """
        ),
        ("shells", "/bin/sh\n/bin/bash\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("ld.so.conf", "/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n"),
        ("services", servicesText),
        ("protocols", "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n"),
        ("os-release", "ID=portolan\nNAME=\"Portolan built-in image\"\nPRETTY_NAME=Portolan\n"),
    ]

    private static let servicesText = """
        ssh 22/tcp
        domain 53/tcp
        domain 53/udp
        http 80/tcp
        https 443/tcp

        """
}
