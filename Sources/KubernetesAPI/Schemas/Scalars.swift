/// A point in time, as Kubernetes writes it (RFC 3339, UTC).
public struct Timestamp: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Microseconds since 1970-01-01T00:00:00Z.
    public let microseconds: Int64

    /// Makes a time of `microseconds` since 1970.
    public init(microseconds: Int64) { self.microseconds = microseconds }

    /// Makes a time of whole seconds since 1970.
    public init(seconds: Int64) { microseconds = seconds * 1_000_000 }

    /// Whole seconds since 1970.
    public var seconds: Int64 {
        (microseconds - (microseconds % 1_000_000 + 1_000_000) % 1_000_000) / 1_000_000
    }

    /// Parses RFC 3339 with any offset and fraction; nil for anything else.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int64? {
            guard range.upperBound <= bytes.count else { return nil }
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (48...57).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 48)
            }
            return value
        }
        guard bytes.count >= 20, bytes[4] == 45, bytes[7] == 45,
            bytes[10] == UInt8(ascii: "T") || bytes[10] == UInt8(ascii: "t"),
            bytes[13] == 58, bytes[16] == 58,
            let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second <= 60
        else { return nil }
        var index = 19
        var fraction: Int64 = 0
        if bytes[index] == UInt8(ascii: ".") {
            let start = index + 1
            index = start
            while index < bytes.count, (48...57).contains(bytes[index]) {
                if index - start < 6 { fraction = fraction * 10 + Int64(bytes[index] - 48) }
                index += 1
            }
            guard index > start else { return nil }
            for _ in min(index - start, 6)..<6 { fraction *= 10 }
        }
        guard index < bytes.count else { return nil }
        var offset: Int64 = 0
        switch bytes[index] {
        case UInt8(ascii: "Z"), UInt8(ascii: "z"):
            guard index + 1 == bytes.count else { return nil }
        case UInt8(ascii: "+"), UInt8(ascii: "-"):
            guard index + 6 == bytes.count, bytes[index + 3] == 58,
                let hours = number(index + 1..<index + 3),
                let minutes = number(index + 4..<index + 6)
            else { return nil }
            offset = (hours * 3600 + minutes * 60) * (bytes[index] == UInt8(ascii: "-") ? -1 : 1)
        default: return nil
        }
        let days = Self.days(year: year, month: month, day: day)
        let seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
        microseconds = seconds * 1_000_000 + fraction
    }

    /// Seconds precision, as in `metadata.creationTimestamp`: `2026-01-02T03:04:05Z`.
    public var description: String { dateAndTime + "Z" }

    /// Microsecond precision, as in Lease times: `2026-01-02T03:04:05.678901Z`.
    public var microTimeText: String {
        let fraction = String(microseconds - seconds * 1_000_000)
        return dateAndTime + "." + String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
            + "Z"
    }

    /// Sorts by time.
    public static func < (left: Self, right: Self) -> Bool {
        left.microseconds < right.microseconds
    }

    private var dateAndTime: String {
        let seconds = seconds
        let secondOfDay = ((seconds % 86400) + 86400) % 86400
        let date = Self.date(days: (seconds - secondOfDay) / 86400)
        func pad(_ value: Int64, _ width: Int = 2) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        return "\(pad(date.year, 4))-\(pad(date.month))-\(pad(date.day))T"
            + "\(pad(secondOfDay / 3600)):\(pad(secondOfDay / 60 % 60)):\(pad(secondOfDay % 60))"
    }

    /// Days since 1970-01-01 of a date of the Gregorian calendar, in eras of 400 years whose years
    /// begin in March.
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func date(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}

/// Base64 of RFC 4648, section 4, with padding: what Secrets carry.
public enum Base64 {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// The text of `bytes`.
    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        let bytes = Array(bytes)
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let count = min(3, bytes.count - start)
            var group: UInt32 = 0
            for index in 0..<3 {
                group = group << 8 | (index < count ? UInt32(bytes[start + index]) : 0)
            }
            for index in 0..<4 {
                let digit = alphabet[Int(group >> (18 - 6 * UInt32(index)) & 63)]
                text.append(index <= count ? digit : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The bytes of `text`, line breaks ignored; nil where it is no base64.
    public static func decode(_ text: String) -> [UInt8]? {
        if case .success(let bytes) = read(text) { return bytes }
        return nil
    }

    /// The position of the first byte that is no base64; nil for a sound text.
    static func firstFault(in text: String) -> Int? {
        if case .failure(let fault) = read(text) { return fault.offset }
        return nil
    }

    private struct Fault: Error {
        let offset: Int
    }

    private static func read(_ text: String) -> Result<[UInt8], Fault> {
        var bytes: [UInt8] = []
        var group: UInt32 = 0
        var digits = 0
        var padding = 0
        var offset = 0
        for byte in text.utf8 {
            defer { offset += 1 }
            if byte == 10 || byte == 13 { continue }
            if byte == UInt8(ascii: "="), digits >= 2, digits + padding < 4 {
                padding += 1
                continue
            }
            guard padding == 0, let value = value(of: byte) else {
                return .failure(Fault(offset: offset))
            }
            group = group << 6 | value
            digits += 1
            if digits == 4 {
                bytes += [
                    UInt8(group >> 16 & 255), UInt8(group >> 8 & 255), UInt8(group & 255),
                ]
                (group, digits) = (0, 0)
            }
        }
        if digits == 0, padding == 0 { return .success(bytes) }
        guard digits + padding == 4 else { return .failure(Fault(offset: offset)) }
        group <<= UInt32(6 * padding)
        bytes.append(UInt8(group >> 16 & 255))
        if padding == 1 { bytes.append(UInt8(group >> 8 & 255)) }
        return .success(bytes)
    }

    private static func value(of byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte) - 65
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte) - 71
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte) + 4
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}

/// Numbers with units (resource.Quantity).
public enum Quantity {
    private static let suffixes: Set<String> = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ]

    /// True for texts such as `100m`, `1.5Gi`, `1e3`.
    public static func isValid(_ text: String) -> Bool {
        var rest = text[...]
        if let sign = rest.first, sign == "+" || sign == "-" { rest = rest.dropFirst() }
        let digits = rest.prefix { $0.isASCII && $0.isNumber || $0 == "." }
        guard digits.contains(where: \.isNumber), digits.filter({ $0 == "." }).count <= 1 else {
            return false
        }
        rest = rest.dropFirst(digits.count)
        if suffixes.contains(String(rest)) { return true }
        guard let exponent = rest.first, exponent == "e" || exponent == "E" else { return false }
        return Int(rest.dropFirst()) != nil
    }
}
