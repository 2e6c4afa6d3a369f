import CLinux
import Glibc
import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// Counts a probe's results and says when its verdict changes. Pure.
struct ProbeCounter: Sendable {
    let successThreshold: Int
    let failureThreshold: Int
    private var lastResult: Bool?
    private var runLength = 0

    /// Starts without a verdict.
    init(_ probe: ProbeSpecification) {
        successThreshold = probe.successThreshold
        failureThreshold = probe.failureThreshold
    }

    /// Takes a result in.
    /// - Returns: the verdict, or nil while the results in a row are too few for one.
    mutating func count(_ isSuccess: Bool) -> Bool? {
        runLength = isSuccess == lastResult ? runLength + 1 : 1
        lastResult = isSuccess
        let threshold = isSuccess ? successThreshold : failureThreshold
        return runLength >= threshold ? isSuccess : nil
    }
}

/// What one try of a probe or hook gave.
struct ProbeResult: Sendable, Hashable {
    var isSuccess: Bool
    /// What went wrong, for the event.
    var message = ""
}

/// Does what probes and hooks ask.
struct Prober: Sendable {
    var runtime: ContainerRuntime
    /// Where the pod is reached from the node.
    var address: IPAddress
    var node = NodeNamespace()

    /// Runs a handler once.
    func run(
        _ handler: ProbeHandler, _ container: ContainerSpecification, id: String,
        timeoutSeconds: Int
    ) async -> ProbeResult {
        switch handler {
        case .exec(let command):
            return await exec(command, id: id, timeoutSeconds: timeoutSeconds)
        case .sleep(let seconds):
            try? await Task.sleep(for: .seconds(seconds))
            return ProbeResult(isSuccess: true)
        case .tcpSocket(let port, let host):
            guard let port = container.port(port).flatMap(UInt16.init(exactly:)) else {
                return ProbeResult(isSuccess: false, message: "no such port: \(port)")
            }
            let target = host.flatMap { IPAddress($0) } ?? address
            return await blocking { try Self.connect(target, port, timeoutSeconds) }
        case .httpGet(let path, let port, let scheme, let host, let headers):
            guard let port = container.port(port).flatMap(UInt16.init(exactly:)) else {
                return ProbeResult(isSuccess: false, message: "no such port: \(port)")
            }
            let target = host.flatMap { IPAddress($0) } ?? address
            let request = HTTPProbe(
                address: target, port: port, path: path, isSecure: scheme == "HTTPS",
                headers: headers, timeoutSeconds: timeoutSeconds)
            return await blocking { try request.run() }
        }
    }

    private func exec(_ command: [String], id: String, timeoutSeconds: Int) async -> ProbeResult {
        do {
            let result = try await runtime.exec(
                id, command, timeoutMilliseconds: timeoutSeconds * 1000)
            if result.isTimedOut {
                return ProbeResult(
                    isSuccess: false,
                    message: "command \(command) timed out after \(timeoutSeconds)s")
            }
            let text = String(decoding: result.output + result.errorOutput, as: UTF8.self)
            return ProbeResult(isSuccess: result.exitCode == 0, message: trimmed(text))
        } catch {
            return ProbeResult(isSuccess: false, message: "\(error)")
        }
    }

    private func blocking(
        _ work: @Sendable @escaping () throws -> ProbeResult
    ) async -> ProbeResult {
        do {
            let node = node
            return try await Blocking.run { try node.run(work) }
        } catch {
            return ProbeResult(isSuccess: false, message: "\(error)")
        }
    }

    private static func connect(
        _ address: IPAddress, _ port: UInt16, _ timeoutSeconds: Int
    ) throws -> ProbeResult {
        let deadline = Timestamp.now.adding(seconds: Double(timeoutSeconds))
        let descriptor = try connectedSocket(address, port, deadline: deadline)
        close(descriptor)
        return ProbeResult(isSuccess: true)
    }
}

/// Opens a TCP connection before the deadline; the socket does not block.
func connectedSocket(_ address: IPAddress, _ port: UInt16, deadline: Timestamp) throws -> Int32 {
    guard case .v4(let number) = address else {
        throw SystemError(call: "connect to \(address)", code: EAFNOSUPPORT)
    }
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(AF_INET, type | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw SystemError("socket") }
    var target = sockaddr_in()
    target.sin_family = sa_family_t(AF_INET)
    target.sin_port = port.bigEndian
    target.sin_addr.s_addr = number.bigEndian
    let status = withUnsafePointer(to: &target) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    var code = status == 0 ? 0 : errno
    if code == EINPROGRESS {
        code = waitFor(descriptor, Int16(POLLOUT), deadline) ? 0 : ETIMEDOUT
        if code == 0 {
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length)
        }
    }
    guard code == 0 else {
        close(descriptor)
        throw SystemError(call: "connect to \(address):\(port)", code: code)
    }
    return descriptor
}

/// Waits until a descriptor is ready; false when the deadline has passed first.
func waitFor(_ descriptor: Int32, _ events: Int16, _ deadline: Timestamp) -> Bool {
    while true {
        let left = deadline.secondsSince(.now)
        guard left > 0 else { return false }
        var entry = pollfd(fd: descriptor, events: events, revents: 0)
        let count = poll(&entry, 1, Int32(min(left * 1000 + 1, 1_000_000)))
        if count > 0 { return true }
        if count < 0 && errno != EINTR { return false }
    }
}

/// One HTTP GET of a probe: a status from 200 to 399 is a success, as kubelet has it. HTTPS is asked
/// by curl, without looking at the certificate, which is kubelet's rule, too.
struct HTTPProbe: Sendable {
    var address: IPAddress
    var port: UInt16
    var path: String
    var isSecure: Bool
    var headers: [ProbeHandler.Header]
    var timeoutSeconds: Int

    /// Bytes of an answer that are looked at.
    private static let answerLimit = 10 * 1024

    /// Asks once.
    func run() throws -> ProbeResult {
        isSecure ? try runByCurl() : try runPlain()
    }

    private func runPlain() throws -> ProbeResult {
        let deadline = Timestamp.now.adding(seconds: Double(timeoutSeconds))
        let descriptor = try connectedSocket(address, port, deadline: deadline)
        defer { close(descriptor) }
        try Files.writeAll(descriptor, Array(requestText.utf8), path: "the probe's request")
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count < Self.answerLimit, !bytes.contains(UInt8(ascii: "\n")) {
            guard waitFor(descriptor, Int16(POLLIN), deadline) else {
                throw SystemError(call: "HTTP probe of \(address):\(port)", code: ETIMEDOUT)
            }
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0 && (errno == EINTR || errno == EAGAIN) { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return Self.result(String(decoding: bytes, as: UTF8.self))
    }

    private var requestText: String {
        var text = "GET \(path) HTTP/1.1\r\n"
        let names = Set(headers.map { $0.name.lowercased() })
        if !names.contains("host") { text += "Host: \(address):\(port)\r\n" }
        if !names.contains("user-agent") { text += "User-Agent: kube-probe/1.36\r\n" }
        if !names.contains("accept") { text += "Accept: */*\r\n" }
        for header in headers { text += "\(header.name): \(header.value)\r\n" }
        return text + "Connection: close\r\n\r\n"
    }

    /// Judges an answer by its first line.
    static func result(_ answer: String) -> ProbeResult {
        let fields = (answer.split(separator: "\r\n").first ?? "").split(separator: " ")
        guard fields.count >= 2, fields[0].hasPrefix("HTTP/"), let code = Int(fields[1]) else {
            return ProbeResult(isSuccess: false, message: "the answer is not HTTP")
        }
        return judge(code)
    }

    private static func judge(_ code: Int) -> ProbeResult {
        (200..<400).contains(code)
            ? ProbeResult(isSuccess: true)
            : ProbeResult(
                isSuccess: false, message: "HTTP probe failed with statuscode: \(code)")
    }

    private func runByCurl() throws -> ProbeResult {
        var arguments = ["-k", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-redirs", "0"]
        arguments += ["--max-time", String(timeoutSeconds)]
        for header in headers { arguments += ["-H", "\(header.name): \(header.value)"] }
        let command = Command("/usr/bin/curl", arguments + ["https://\(address):\(port)\(path)"])
        let result = try command.runBlocking(timeoutMilliseconds: timeoutSeconds * 1000 + 500)
        let code = Int(trimmed(String(decoding: result.output, as: UTF8.self))) ?? 0
        guard result.exitCode == 0, code > 0 else {
            return ProbeResult(
                isSuccess: false,
                message: "HTTPS probe of \(address):\(port): curl ended with \(result.exitCode)")
        }
        return Self.judge(code)
    }
}
