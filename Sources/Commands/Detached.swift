import Glibc

/// `portolan up --detach`: the same command in a session of its own, whose progress is copied here
/// until it says that it is ready.
enum Detached {
    static func start(arguments: [String], identity: IdentityOptions) throws {
        try FileSystem.makeDirectory(identity.dataDir, mode: 0o700)
        let data = DataDirectory(path: identity.dataDir)
        let (reading, writing) = try FileSystem.makePipe()
        defer { close(reading) }
        let kept = arguments.dropFirst().filter { $0 != "--detach" }
        let process: ChildProcess
        do {
            defer { close(writing) }
            process = try ChildProcess(
                Executable.path, kept + ["--mirror-descriptor", "3"], logPath: data.log,
                readyDescriptor: writing, isNewSession: true)
        }
        var text = ""
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(reading, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            let piece = String(decoding: chunk[..<count], as: UTF8.self)
            text += piece
            Console.write(piece, to: STDOUT_FILENO)
        }
        guard text.contains("Portolan is ready") else {
            var status: Int32 = 0
            waitpid(process.processID, &status, 0)
            let log = FileSystem.read(data.log).map { String(decoding: $0, as: UTF8.self) } ?? ""
            let reason = log.split(separator: "\n").last { $0.hasPrefix("portolan: ") }
            throw CommandFailure(
                reason.map { String($0.dropFirst(10)) }
                    ?? "it ended before it was ready: see \(data.log)")
        }
    }
}
