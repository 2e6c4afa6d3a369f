import NIOCore
import NIOHTTP1

/// One request, its body read whole.
struct APIRequest: Sendable {
    let method: HTTPMethod
    /// The path as it came, percent-encoded, without the query.
    let path: String
    /// The query as it came, or an empty string.
    let rawQuery: String
    let query: QueryItems
    let headers: HTTPHeaders
    let body: ByteBuffer
    /// Who the client certificate names; nil without one.
    let certificateUser: UserInfo?
    let isHTTP2: Bool

    init(
        head: HTTPRequestHead, body: ByteBuffer, certificateUser: UserInfo?, isHTTP2: Bool
    ) {
        method = head.method
        let uri = head.uri
        let mark = uri.utf8.firstIndex(of: UInt8(ascii: "?"))
        path = String(uri[..<(mark ?? uri.endIndex)])
        rawQuery = mark.map { String(uri[uri.index(after: $0)...]) } ?? ""
        query = QueryItems(parsing: rawQuery)
        headers = head.headers
        self.body = body
        self.certificateUser = certificateUser
        self.isHTTP2 = isHTTP2
    }

    var bodyBytes: [UInt8] { Array(body.readableBytesView) }

    /// A body beyond this size takes long enough to work on that other connections of the event
    /// loop would notice.
    private static let briefBytes = 32 * 1024

    /// The answer to a request that writes: what is done with a small body is done at once.
    func writing(_ work: @Sendable @escaping () async -> APIReply) -> APIResponse {
        body.readableBytes <= Self.briefBytes ? .brief(work) : .pending(work)
    }
}

/// The decoded query of a URL; a name may come several times.
struct QueryItems: Sendable, Hashable {
    private(set) var items: [Item] = []

    struct Item: Sendable, Hashable {
        var name: String
        var value: String
    }

    init(_ items: [Item] = []) { self.items = items }

    init(parsing text: String) {
        guard !text.isEmpty else { return }
        for part in text.utf8.split(separator: UInt8(ascii: "&")) {
            let mark = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
            items.append(
                Item(
                    name: PercentCoding.decode(part[..<mark], plusIsSpace: true),
                    value: PercentCoding.decode(part[mark...].dropFirst(), plusIsSpace: true)))
        }
    }

    /// The first value of `name`, or nil.
    subscript(name: String) -> String? { items.first { $0.name == name }?.value }

    func values(_ name: String) -> [String] {
        items.filter { $0.name == name }.map(\.value)
    }

    /// True for `1` and `true`, as strconv.ParseBool reads them.
    func flag(_ name: String) -> Bool {
        switch self[name] {
        case "1", "t", "T", "true", "TRUE", "True", "": return self[name] != ""
        default: return false
        }
    }

    /// The text of the URL.
    var encoded: String {
        items.map {
            PercentCoding.encode($0.name) + "=" + PercentCoding.encode($0.value)
        }.joined(separator: "&")
    }
}

/// Percent coding of RFC 3986; bytes that are no UTF-8 become U+FFFD.
enum PercentCoding {
    static func decode(
        _ bytes: Substring.UTF8View, plusIsSpace: Bool = false
    ) -> String {
        let isPlain = bytes.allSatisfy { byte in
            byte != UInt8(ascii: "%") && !(plusIsSpace && byte == UInt8(ascii: "+"))
        }
        if isPlain { return String(Substring(bytes)) }
        var result: [UInt8] = []
        var pending: [UInt8] = []  // '%' and the digits read so far
        for byte in bytes {
            if !pending.isEmpty {
                pending.append(byte)
                guard pending.count == 3 else { continue }
                if let high = hexDigit(pending[1]), let low = hexDigit(pending[2]) {
                    result.append(high << 4 | low)
                } else {
                    result.append(contentsOf: pending)
                }
                pending = []
            } else if byte == UInt8(ascii: "%") {
                pending = [byte]
            } else {
                result.append(plusIsSpace && byte == UInt8(ascii: "+") ? 0x20 : byte)
            }
        }
        return String(decoding: result + pending, as: UTF8.self)
    }

    static func encode(_ text: String) -> String {
        let hexadecimal = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"):
                result.append(byte)
            default:
                result.append(UInt8(ascii: "%"))
                result.append(hexadecimal[Int(byte >> 4)])
                result.append(hexadecimal[Int(byte & 15)])
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
