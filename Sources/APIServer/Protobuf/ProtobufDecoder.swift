import FoundationEssentials
import JSON
import KubernetesAPI

/// Reads bodies of `application/vnd.kubernetes.protobuf`, which kubectl from 1.32 on and controllers
/// send for the built-in kinds: a magic number, a `runtime.Unknown`, within it the object. The
/// result is the JSON that the same client would have sent.
struct ProtobufDecoder {
    static let contentType = "application/vnd.kubernetes.protobuf"
    private static let magic: [UInt8] = [0x6B, 0x38, 0x73, 0x00]
    private static let depthLimit = 64

    struct Fault: Error {
        var text: String
    }

    private let messages: ProtobufMessages

    init(messages: ProtobufMessages = .builtIn) { self.messages = messages }

    /// - Throws: 400 for bytes that are no such object or an object of an unknown kind.
    static func decode(_ bytes: [UInt8]) throws -> JSONValue {
        do throws(Fault) {
            return try ProtobufDecoder().object(bytes)
        } catch {
            throw StatusError.badRequest(
                "the protobuf object provided is unrecognized: \(error.text)")
        }
    }

    private func object(_ bytes: [UInt8]) throws(Fault) -> JSONValue {
        guard bytes.starts(with: Self.magic) else { throw Fault(text: "no magic number") }
        var apiVersion = ""
        var kind = ""
        var raw: ArraySlice<UInt8> = []
        var reader = WireReader(bytes[4...])
        while let (number, value) = try reader.next() {
            switch (number, value) {
            case (1, .bytes(let meta)):
                var inner = WireReader(meta)
                while let (number, value) = try inner.next() {
                    guard case .bytes(let text) = value else { continue }
                    if number == 1 { apiVersion = String(decoding: text, as: UTF8.self) }
                    if number == 2 { kind = String(decoding: text, as: UTF8.self) }
                }
            case (2, .bytes(let body)): raw = body
            case (3, .bytes(let encoding)) where !encoding.isEmpty:
                throw Fault(text: "content encodings are not supported")
            default: break
            }
        }
        guard let message = messages.name(apiVersion: apiVersion, kind: kind) else {
            throw Fault(text: "no kind \"\(kind)\" is registered for version \"\(apiVersion)\"")
        }
        var json = try self.message(message, raw, depth: 0)
        json["kind"] = .string(kind)
        json["apiVersion"] = .string(apiVersion)
        return json
    }

    // MARK: - Messages

    private func message(
        _ name: String, _ bytes: ArraySlice<UInt8>, depth: Int
    ) throws(Fault) -> JSONValue {
        guard depth < Self.depthLimit else { throw Fault(text: "nested too deeply") }
        if let value = try wrapped(name, bytes) { return value }
        let fields = messages[name] ?? [:]
        var object = JSONObject()
        var reader = WireReader(bytes)
        while let (number, wire) = try reader.next() {
            guard let field = fields[number] else { continue }
            guard let value = try self.value(field, wire, depth: depth) else { continue }
            if Self.inlined.contains(field.name), case .object(let members) = value {
                for (key, member) in members { object[key] = member }
                continue
            }
            switch (field.type, object[field.name]) {
            case (.list, .array(let elements)?): object[field.name] = .array(elements + [value])
            case (.list, _): object[field.name] = .array([value])
            case (.map, .object(let members)?):
                var merged = members
                for (key, member) in value.object ?? [:] { merged[key] = member }
                object[field.name] = .object(merged)
            default: object[field.name] = value
            }
        }
        return .object(object)
    }

    /// A value; nil for what JSON would have left out.
    private func value(
        _ field: ProtobufMessages.Field, _ wire: WireReader.Value, depth: Int
    ) throws(Fault) -> JSONValue? {
        switch field.type {
        case .list(let element): return try scalar(element, wire, depth: depth) ?? .null
        case .map(let element):
            guard case .bytes(let entry) = wire else { throw Fault(text: "a map is no message") }
            var key = ""
            var value: JSONValue = element == .string || element == .bytes ? "" : [:]
            var reader = WireReader(entry)
            while let (number, part) = try reader.next() {
                if number == 1, case .bytes(let text) = part {
                    key = String(decoding: text, as: UTF8.self)
                } else if number == 2, let read = try scalar(element, part, depth: depth) {
                    value = read
                }
            }
            return [key: value]
        default:
            guard let value = try scalar(field.type, wire, depth: depth) else { return nil }
            // Go writes plain fields also when they are zero; only a pointer's zero says something.
            let isZero = value == "" || value == 0 || value == false
            // No ternary: `nil` beside a JSONValue would be a JSON null.
            if isZero, !Self.meaningfulZeros.contains(field.name) { return nil }
            return value
        }
    }

    private func scalar(
        _ type: ProtobufMessages.FieldType, _ wire: WireReader.Value, depth: Int
    ) throws(Fault) -> JSONValue? {
        switch (type, wire) {
        case (.string, .bytes(let text)):
            guard let text = String(validating: text, as: UTF8.self) else {
                throw Fault(text: "invalid UTF-8 in a string")
            }
            return .string(text)
        case (.bytes, .bytes(let bytes)):
            return .string(Data(bytes).base64EncodedString())
        case (.integer, .varint(let number)): return .integer(Int64(bitPattern: number))
        case (.boolean, .varint(let number)): return .bool(number != 0)
        case (.double, .fixed64(let bits)): return .number("\(Double(bitPattern: bits))")
        case (.message(let name), .bytes(let bytes)):
            let value = try message(name, bytes, depth: depth + 1)
            if value.isNull { return nil }
            return value
        default: throw Fault(text: "a field has an unexpected wire type")
        }
    }

    // MARK: - Messages that JSON writes in another form

    /// The fields that Go embeds: JSON has their members in the object around them.
    static let inlined: Set<String> = [
        "volumeSource", "persistentVolumeSource", "handler", "localObjectReference",
        "ephemeralContainerCommon", "ingressRuleValue",
    ]

    /// Fields whose zero differs from their absence.
    private static let meaningfulZeros: Set<String> = [
        "replicas", "automountServiceAccountToken", "runAsUser", "runAsGroup", "fsGroup",
        "runAsNonRoot", "readOnlyRootFilesystem", "allowPrivilegeEscalation", "privileged",
        "optional", "immutable", "controller", "blockOwnerDeletion", "enableServiceLinks",
        "shareProcessNamespace", "terminationGracePeriodSeconds", "activeDeadlineSeconds",
        "revisionHistoryLimit", "progressDeadlineSeconds", "parallelism", "completions",
        "backoffLimit", "ttlSecondsAfterFinished", "suspend", "manualSelector",
        "allocateLoadBalancerNodePorts", "setHostnameAsFQDN", "hostUsers", "tolerationSeconds",
        "priority", "defaultMode", "mode", "expirationSeconds", "gracePeriodSeconds",
        "orphanDependents", "successfulJobsHistoryLimit", "failedJobsHistoryLimit",
        "startingDeadlineSeconds", "ready", "serving", "terminating", "partition", "value",
        "minAvailable", "maxUnavailable", "maxSurge",
    ]

    /// The JSON of a message with a form of its own; nil for all others, `.null` where it is empty.
    private func wrapped(_ name: String, _ bytes: ArraySlice<UInt8>) throws(Fault) -> JSONValue? {
        switch name {
        case "meta.v1.Time", "meta.v1.MicroTime":
            return try time(bytes, isMicro: name.hasSuffix("MicroTime"))
        case "meta.v1.Duration":
            let nanoseconds = try numbers(bytes)[1] ?? 0
            return .string("\(Double(nanoseconds) / 1e9)s")
        case "resource.Quantity": return .string(try texts(bytes).first ?? "0")
        case "intstr.IntOrString":
            let numbers = try numbers(bytes)
            return numbers[1] == 1
                ? .string(try texts(bytes).last ?? "") : .integer(numbers[2] ?? 0)
        case "meta.v1.FieldsV1", "runtime.RawExtension":
            guard let text = try texts(bytes).first else { return .null }
            guard let json = try? JSONValue(parsing: text) else {
                throw Fault(text: "an embedded object is no JSON")
            }
            return json
        case "authentication.v1.ExtraValue", "authorization.v1.ExtraValue", "meta.v1.Verbs":
            return .array(try texts(bytes).map(JSONValue.string))
        default: return nil
        }
    }

    private func time(_ bytes: ArraySlice<UInt8>, isMicro: Bool) throws(Fault) -> JSONValue {
        guard !bytes.isEmpty else { return .null }
        let numbers = try numbers(bytes)
        let (seconds, nanoseconds) = (numbers[1] ?? 0, numbers[2] ?? 0)
        // Go's zero time, the year 1, stands for none.
        guard abs(seconds) < 1 << 40, seconds > -62_135_596_800 else { return .null }
        let stamp = Timestamp(microseconds: seconds * 1_000_000 + nanoseconds / 1000)
        return .string(isMicro ? stamp.microTimeText : stamp.description)
    }

    private func numbers(_ bytes: ArraySlice<UInt8>) throws(Fault) -> [Int: Int64] {
        var result: [Int: Int64] = [:]
        var reader = WireReader(bytes)
        while let (number, value) = try reader.next() {
            if case .varint(let bits) = value { result[number] = Int64(bitPattern: bits) }
        }
        return result
    }

    private func texts(_ bytes: ArraySlice<UInt8>) throws(Fault) -> [String] {
        var result: [String] = []
        var reader = WireReader(bytes)
        while let (_, value) = try reader.next() {
            if case .bytes(let text) = value {
                result.append(String(decoding: text, as: UTF8.self))
            }
        }
        return result
    }
}

/// Reads the fields of one message (protobuf encoding, wire types 0, 1, 2 and 5).
struct WireReader {
    enum Value {
        case varint(UInt64)
        case fixed64(UInt64)
        case fixed32(UInt32)
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    /// The next field's number and value; nil at the end.
    mutating func next() throws(ProtobufDecoder.Fault) -> (Int, Value)? {
        guard !rest.isEmpty else { return nil }
        let key = try varint()
        guard let number = Int(exactly: key >> 3), number > 0 else {
            throw ProtobufDecoder.Fault(text: "a field number is wrong")
        }
        switch key & 7 {
        case 0: return (number, .varint(try varint()))
        case 1: return (number, .fixed64(try fixed(8)))
        case 2:
            guard let count = Int(exactly: try varint()), count <= rest.count else {
                throw ProtobufDecoder.Fault(text: "a field ends after its message")
            }
            let bytes = rest.prefix(count)
            rest = rest.dropFirst(count)
            return (number, .bytes(bytes))
        case 5: return (number, .fixed32(UInt32(truncatingIfNeeded: try fixed(4))))
        default: throw ProtobufDecoder.Fault(text: "a wire type is unknown")
        }
    }

    private mutating func varint() throws(ProtobufDecoder.Fault) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = rest.popFirst() {
            guard shift < 64 else { break }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw ProtobufDecoder.Fault(text: "a number is cut off or too long")
    }

    private mutating func fixed(_ count: Int) throws(ProtobufDecoder.Fault) -> UInt64 {
        guard rest.count >= count else { throw ProtobufDecoder.Fault(text: "a number is cut off") }
        var value: UInt64 = 0
        for (index, byte) in rest.prefix(count).enumerated() {
            value |= UInt64(byte) << UInt64(8 * index)
        }
        rest = rest.dropFirst(count)
        return value
    }
}
