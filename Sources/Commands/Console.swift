import Glibc

/// Prints progress for people: one line a step, flushed at once, with the time since the start.
struct Console: Sendable {
    private let start = ContinuousClock.now
    /// A descriptor that gets every line as well until `detach` closes it; `--detach` reads it.
    private let mirror: Int32?

    init(mirror: Int32? = nil) { self.mirror = mirror }

    /// Prints a step with the milliseconds since the start.
    func step(_ text: String) {
        let elapsed = ContinuousClock.now - start
        let milliseconds =
            elapsed.components.seconds * 1000
            + elapsed.components.attoseconds / 1_000_000_000_000_000
        let padded = String(String(String(milliseconds).reversed()).padding(to: 6).reversed())
        line("\(padded) ms  \(text)")
    }

    /// Prints a line as it is.
    func line(_ text: String) {
        Self.write(text + "\n", to: STDOUT_FILENO)
        if let mirror { Self.write(text + "\n", to: mirror) }
    }

    /// Tells the reader of the mirror that nothing more will come.
    func closeMirror() {
        if let mirror { close(mirror) }
    }

    /// Prints a line to standard error.
    static func error(_ text: String) {
        write(text + "\n", to: STDERR_FILENO)
    }

    /// Writes without a buffer in between: a reader of a pipe sees each line at once.
    static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}

extension String {
    /// The text, filled with spaces to `width` characters.
    func padding(to width: Int) -> String {
        count >= width ? self : self + String(repeating: " ", count: width - count)
    }
}
