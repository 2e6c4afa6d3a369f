import CLinux
import Glibc
import Informer
import Synchronization

/// Tells of files that appear in or are written to in directories (inotify), from one thread.
final class DirectoryWatcher: Sendable {
    private struct State {
        var watches: [Int32: [UInt64: @Sendable (String) -> Void]] = [:]
        var next: UInt64 = 0
    }

    private let descriptor: Int32
    private let wakeDescriptor: Int32
    private let state = Mutex(State())

    /// Starts the thread.
    init() throws {
        descriptor = inotify_init1(Int32(IN_CLOEXEC))
        guard descriptor >= 0 else { throw SystemError("inotify_init1") }
        wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC))
        guard wakeDescriptor >= 0 else { throw SystemError("eventfd") }
        let status = Blocking.startThread { [self] in
            run()
            close(descriptor)
            close(wakeDescriptor)
        }
        guard status == 0 else { throw SystemError(call: "pthread_create", code: status) }
    }

    /// Ends the thread.
    func stop() {
        var one: UInt64 = 1
        write(wakeDescriptor, &one, 8)
    }

    /// A watch; ends when it is cancelled.
    struct Watch: Sendable {
        fileprivate let descriptor: Int32
        fileprivate let number: UInt64
    }

    /// Calls `handler`, on the watcher's thread, with the name of each file that is moved into the
    /// directory, closed after writing, or written to; or, for a file, with an empty name.
    func watch(_ path: String, _ handler: @Sendable @escaping (String) -> Void) throws -> Watch {
        try state.withLock { state in
            let events = IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO
            let watch = inotify_add_watch(descriptor, path, UInt32(events))
            guard watch >= 0 else { throw SystemError("watch \(path)") }
            state.next += 1
            state.watches[watch, default: [:]][state.next] = handler
            return Watch(descriptor: watch, number: state.next)
        }
    }

    /// Ends a watch.
    func cancel(_ watch: Watch) {
        state.withLock { state in
            state.watches[watch.descriptor]?[watch.number] = nil
            if state.watches[watch.descriptor]?.isEmpty == true {
                state.watches[watch.descriptor] = nil
                inotify_rm_watch(descriptor, watch.descriptor)
            }
        }
    }

    private func run() {
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        while true {
            var entries = [
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&entries, 2, -1) > 0 || errno == EINTR else { return }
            if entries[1].revents != 0 { return }
            guard entries[0].revents != 0 else { continue }
            let count = read(descriptor, &buffer, buffer.count)
            if count > 0 { handle(buffer[..<count]) }
        }
    }

    /// struct inotify_event: int wd; uint32 mask, cookie, len; char name[len].
    private func handle(_ bytes: ArraySlice<UInt8>) {
        var rest = bytes
        func word(_ offset: Int) -> UInt32 {
            let start = rest.startIndex + offset
            return (0..<4).reduce(0) { $0 | UInt32(rest[start + $1]) << UInt32(8 * $1) }
        }
        while rest.count >= 16 {
            let watch = Int32(bitPattern: word(0))
            let length = Int(word(12))
            guard rest.count >= 16 + length else { return }
            let name = rest.dropFirst(16).prefix(length).prefix { $0 != 0 }
            let handlers = state.withLock { Array(($0.watches[watch] ?? [:]).values) }
            for handler in handlers { handler(String(decoding: name, as: UTF8.self)) }
            rest = rest.dropFirst(16 + length)
        }
    }
}
