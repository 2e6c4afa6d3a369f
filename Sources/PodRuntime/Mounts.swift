import CLinux
import Glibc
import Netlink

/// Mounts in the machine's mount namespace.
enum Mounts {
    /// Mounts an overlay file system (Documentation/filesystems/overlayfs).
    static func overlay(lower: [String], upper: String, work: String, at target: String) throws {
        let options =
            "lowerdir=\(lower.map(escaped).joined(separator: ":"))"
            + ",upperdir=\(escaped(upper)),workdir=\(escaped(work))"
        guard portolan_mount("overlay", target, "overlay", 0, options) == 0 else {
            throw SystemError("mount an overlay at \(target)")
        }
    }

    /// Mounts a tmpfs; `sizeByteCount` nil leaves the kernel's default of half the memory.
    static func tmpfs(at target: String, mode: String, sizeByteCount: Int64? = nil) throws {
        var options = "mode=\(mode)"
        if let sizeByteCount { options += ",size=\(sizeByteCount)" }
        let flags = PORTOLAN_MS_NOSUID | PORTOLAN_MS_NODEV
        guard portolan_mount("tmpfs", target, "tmpfs", flags, options) == 0 else {
            throw SystemError("mount a tmpfs at \(target)")
        }
    }

    /// Takes away what is mounted at `target`, even where it is busy; nothing there is fine.
    static func unmount(_ target: String) {
        while portolan_umount(target, PORTOLAN_MNT_DETACH | PORTOLAN_UMOUNT_NOFOLLOW) == 0 {}
    }

    /// Takes away every mount at or beneath `directory`, the last made first.
    static func unmountAll(beneath directory: String) {
        for target in targets().reversed()
        where target == directory || target.hasPrefix(directory + "/") {
            unmount(target)
        }
    }

    /// The mount points of this process's mount namespace in the order of /proc/self/mountinfo.
    static func targets() -> [String] {
        (Files.text("/proc/self/mountinfo") ?? "").split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            return fields.count > 4 ? unescaped(fields[4]) : nil
        }
    }

    /// mountinfo writes space, tab, line feed and backslash as three octal digits.
    private static func unescaped(_ text: Substring) -> String {
        guard text.utf8.contains(UInt8(ascii: "\\")) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Overlay's options are cut at commas and colons unless a backslash stands before them.
    private static func escaped(_ path: String) -> String {
        path.replacing("\\", with: "\\\\").replacing(":", with: "\\:").replacing(",", with: "\\,")
    }
}

/// The IPC and UTS namespaces that the containers of a pod share, held by bind mounts, so that no
/// process has to hold them.
enum PodNamespaces {
    /// Makes both in `directory` (files `ipc` and `uts`) with the host name set.
    static func create(in directory: String, hostname: String) throws {
        try Files.makeDirectories(directory)
        let targets = [("ipc", directory + "/ipc"), ("uts", directory + "/uts")]
        for (_, target) in targets {
            Mounts.unmount(target)
            try Files.write(target, [])
        }
        try NetworkNamespace.runOnThread {
            guard portolan_unshare(PORTOLAN_CLONE_NEWIPC | PORTOLAN_CLONE_NEWUTS) == 0 else {
                throw SystemError("unshare")
            }
            guard sethostname(hostname, hostname.utf8.count) == 0 else {
                throw SystemError("set the host name \(hostname)")
            }
            for (name, target) in targets {
                let source = "/proc/thread-self/ns/\(name)"
                guard portolan_mount(source, target, "none", PORTOLAN_MS_BIND, nil) == 0 else {
                    throw SystemError("mount \(target)")
                }
            }
        }
    }
}
