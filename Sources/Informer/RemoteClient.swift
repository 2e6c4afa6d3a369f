public import AsyncHTTPClient
public import JSON
public import KubernetesAPI
import NIOCore
public import NIOHTTP1
import NIOSSL

/// A `KubernetesClient` over HTTPS, for agents and commands. Watches stream over connections of
/// their own; answers are bounded before they are parsed.
public final class RemoteClient: KubernetesClient {
    /// The largest answer that is read whole: a list of some 100,000 endpoints stays below it.
    static let responseLimitBytes = 256 << 20
    /// The longest line of a watch, as long as the largest object etcd would keep, and a margin.
    static let watchLineLimitBytes = 8 << 20
    /// The time a request other than a watch may take to its response head.
    static let requestTimeoutSeconds: Int64 = 30
    /// A watch is asked to end after this time; a server that keeps silent longer is given up.
    static let watchTimeoutSeconds: Int64 = 300

    private let http: HTTPClient
    private let configuration: ClientConfiguration
    private let userAgent: String

    /// Makes a client with connections of its own.
    /// - Parameter userAgent: what the server logs as the sender.
    /// - Throws: `NIOSSLError` where a certificate or key cannot be read.
    public init(_ configuration: ClientConfiguration, userAgent: String = "portolan") throws {
        self.configuration = configuration
        self.userAgent = userAgent
        var tls = TLSConfiguration.makeClientConfiguration()
        if let pem = configuration.certificateAuthorityPEM {
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(pem))
        }
        if let certificate = configuration.clientCertificatePEM,
            let key = configuration.clientKeyPEM
        {
            tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(certificate)
                .map { .certificate($0) }
            tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: key, format: .pem))
        }
        var settings = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(3), read: .seconds(Self.watchTimeoutSeconds + 60)))
        settings.httpVersion = .http1Only
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 32
        http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
    }

    /// Closes every connection.
    public func shutdown() async throws { try await http.shutdown() }

    // MARK: KubernetesClient

    /// Reads one object.
    public func get(
        _ resource: Resource, namespace: String?, name: String
    ) async throws -> JSONValue {
        try await send(.GET, resource.path(namespace: namespace, name: name))
    }

    /// Reads a collection with its revision.
    public func list(_ resource: Resource, _ options: ListOptions) async throws -> ObjectList {
        let path = resource.path(namespace: options.namespace)
        var items = options.queryItems
        if options.limit > 0 { items.append(("limit", String(options.limit))) }
        if !options.continueToken.isEmpty { items.append(("continue", options.continueToken)) }
        let answer = try await send(.GET, path + Self.query(items))
        return ObjectList(
            items: answer["items"]?.array ?? [],
            resourceVersion: answer["metadata", "resourceVersion"]?.string ?? "",
            continueToken: answer["metadata", "continue"]?.string ?? "")
    }

    /// Creates an object.
    public func create(_ resource: Resource, _ object: JSONValue) async throws -> JSONValue {
        let path = resource.path(namespace: object["metadata", "namespace"]?.string)
        return try await send(.POST, path, body: object)
    }

    /// Replaces an object or its subresource.
    public func update(
        _ resource: Resource, _ object: JSONValue, subresource: String?
    ) async throws -> JSONValue {
        let path = resource.path(
            namespace: object["metadata", "namespace"]?.string,
            name: object["metadata", "name"]?.string ?? "", subresource: subresource)
        return try await send(.PUT, path, body: object)
    }

    /// Applies a patch; server-side apply takes ownership by force.
    public func patch(
        _ resource: Resource, namespace: String?, name: String, subresource: String?,
        type: PatchType, _ patch: JSONValue
    ) async throws -> JSONValue {
        var path = resource.path(namespace: namespace, name: name, subresource: subresource)
        if type == .apply { path += "?fieldManager=\(userAgent)&force=true" }
        return try await send(.PATCH, path, contentType: type.rawValue, body: patch)
    }

    /// Deletes an object.
    public func delete(
        _ resource: Resource, namespace: String?, name: String, options: JSONValue?
    ) async throws {
        let path = resource.path(namespace: namespace, name: name)
        _ = try await send(.DELETE, path, body: options)
    }

    /// Opens a watch; the stream is pulled, so a slow consumer slows the server down.
    public func watch(
        _ resource: Resource, _ options: ListOptions, resourceVersion: String
    ) async throws -> AsyncThrowingStream<WatchEvent, any Error> {
        var items = options.queryItems
        items += [
            ("watch", "true"), ("allowWatchBookmarks", "true"),
            ("resourceVersion", resourceVersion),
            ("timeoutSeconds", String(Self.watchTimeoutSeconds)),
        ]
        let path = resource.path(namespace: options.namespace) + Self.query(items)
        let response = try await http.execute(
            try request(.GET, path), timeout: .seconds(Self.requestTimeoutSeconds))
        guard response.status == .ok else {
            throw try await Self.failure(of: response)
        }
        let reader = WatchReader(response.body)
        return AsyncThrowingStream { try await reader.next() }
    }

    // MARK: Requests

    /// Sends a request to `path` (with its query) and reads the answer whole.
    /// - Throws: `StatusError` for an answer that is a failure, or the connection's error.
    public func send(
        _ method: HTTPMethod, _ path: String, contentType: String = "application/json",
        body: JSONValue? = nil
    ) async throws -> JSONValue {
        let response = try await raw(method, path, contentType: contentType, body: body)
        guard (200..<300).contains(response.status.code) else {
            throw try await Self.failure(of: response)
        }
        let bytes = try await response.body.collect(upTo: Self.responseLimitBytes)
        if bytes.readableBytes == 0 { return .null }
        return try JSONValue(parsing: bytes.readableBytesView)
    }

    /// Sends a request and returns the response with its body still to be read.
    public func raw(
        _ method: HTTPMethod, _ path: String, contentType: String = "application/json",
        body: JSONValue? = nil
    ) async throws -> HTTPClientResponse {
        var request = try request(method, path)
        if let body {
            request.headers.add(name: "Content-Type", value: contentType)
            request.body = .bytes(body.serializedBytes)
        }
        return try await http.execute(request, timeout: .seconds(Self.requestTimeoutSeconds))
    }

    /// Reads an answer of any length, piece by piece; what takes the pieces sets the pace.
    /// - Throws: `StatusError` for an answer that is a failure, the connection's error where the
    ///   answer is cut short, or what `take` throws.
    public func download(_ path: String, _ take: ([UInt8]) throws -> Void) async throws {
        let response = try await raw(.GET, path)
        guard response.status == .ok else { throw try await Self.failure(of: response) }
        for try await piece in response.body { try take(Array(piece.readableBytesView)) }
    }

    private func request(_ method: HTTPMethod, _ path: String) throws -> HTTPClientRequest {
        var request = HTTPClientRequest(url: configuration.server + path)
        request.method = method
        request.headers.add(name: "Accept", value: "application/json")
        request.headers.add(name: "User-Agent", value: userAgent)
        switch configuration.token {
        case .literal(let token)?:
            request.headers.add(name: "Authorization", value: "Bearer \(token)")
        case .file(let path)?:
            let bytes = try ClientConfiguration.readFile(path)
            let token = String(decoding: bytes, as: UTF8.self).split { $0.isWhitespace }.first ?? ""
            request.headers.add(name: "Authorization", value: "Bearer \(token)")
        case nil: break
        }
        return request
    }

    private static func failure(of response: HTTPClientResponse) async throws -> StatusError {
        let bytes = try await response.body.collect(upTo: 1 << 20)
        if let json = try? JSONValue(parsing: bytes.readableBytesView),
            let status = StatusError(json: json)
        {
            return status
        }
        return StatusError(
            code: Int(response.status.code), reason: "Unknown",
            message: "the server answered \(response.status.code)")
    }

    private static func query(_ items: [(String, String)]) -> String {
        items.isEmpty
            ? "" : "?" + items.map { "\($0.0)=\(percentEncoded($0.1))" }.joined(separator: "&")
    }

    /// Escapes everything but the unreserved characters of RFC 3986, section 2.3.
    private static func percentEncoded(_ text: String) -> String {
        let hexadecimal = Array("0123456789ABCDEF")
        var output = ""
        for byte in text.utf8 {
            let scalar = Unicode.Scalar(byte)
            if byte < 0x80,
                Character(scalar).isLetter || Character(scalar).isNumber
                    || "-._~".unicodeScalars.contains(scalar)
            {
                output.unicodeScalars.append(scalar)
            } else {
                output += "%\(hexadecimal[Int(byte >> 4)])\(hexadecimal[Int(byte & 15)])"
            }
        }
        return output
    }
}

extension ListOptions {
    /// The query parameters of the options.
    var queryItems: [(String, String)] {
        var items: [(String, String)] = []
        if !labelSelector.isEmpty { items.append(("labelSelector", labelSelector)) }
        if !fieldSelector.isEmpty { items.append(("fieldSelector", fieldSelector)) }
        return items
    }
}

/// Cuts the body of a watch into lines and decodes them, pulled by one consumer.
///
/// `@unchecked Sendable`: only the one task that iterates the stream calls `next`, never twice at
/// a time, because `AsyncThrowingStream(unfolding:)` awaits each call before the next.
private final class WatchReader: @unchecked Sendable {
    private var chunks: HTTPClientResponse.Body.AsyncIterator
    private var buffer: [UInt8] = []
    private var scanned = 0

    init(_ body: HTTPClientResponse.Body) { chunks = body.makeAsyncIterator() }

    func next() async throws -> WatchEvent? {
        while true {
            if let line = takeLine() {
                if line.isEmpty { continue }
                return try decode(line)
            }
            guard buffer.count <= RemoteClient.watchLineLimitBytes else {
                throw StatusError.internalError("a watch event exceeds 8 MiB")
            }
            guard let chunk = try await chunks.next() else { return nil }
            buffer.append(contentsOf: chunk.readableBytesView)
        }
    }

    private func takeLine() -> [UInt8]? {
        guard let end = buffer[scanned...].firstIndex(of: UInt8(ascii: "\n")) else {
            scanned = buffer.count
            return nil
        }
        let line = Array(buffer[..<end])
        buffer.removeFirst(end + 1)
        scanned = 0
        return line
    }

    private func decode(_ line: [UInt8]) throws -> WatchEvent {
        let json = try JSONValue(parsing: line)
        let object = json["object"] ?? .null
        if let type = json["type"]?.string.flatMap(WatchEvent.EventType.init(rawValue:)) {
            return WatchEvent(type: type, object: object)
        }
        throw StatusError(json: object)
            ?? StatusError.internalError("a watch event of unknown type")
    }
}
