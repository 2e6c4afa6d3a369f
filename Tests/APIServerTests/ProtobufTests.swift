import JSON
import Testing

@testable import APIServer
@testable import KubernetesAPI

/// Golden bytes of `application/vnd.kubernetes.protobuf`.
@Suite struct ProtobufTests {
    private static func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
        [number << 3 | 2, UInt8(content.count)] + content
    }

    private static func envelope(_ apiVersion: String, _ kind: String, _ raw: [UInt8]) -> [UInt8] {
        [0x6B, 0x38, 0x73, 0x00]  // "k8s\0"
            + field(1, field(1, Array(apiVersion.utf8)) + field(2, Array(kind.utf8)))
            + field(2, raw)  // runtime.Unknown.raw
    }

    @Test func readsASecret() throws {
        let metadata =
            Self.field(1, Array("s".utf8)) + Self.field(2, [])  // name, generateName
            + Self.field(8, [])  // creationTimestamp: the zero time
        let entry = Self.field(1, Array("k".utf8)) + Self.field(2, [0xFF, 0x00])
        let secret =
            Self.field(1, metadata) + Self.field(2, entry) + Self.field(3, Array("Opaque".utf8))
        let json = try ProtobufDecoder.decode(Self.envelope("v1", "Secret", secret))
        #expect(
            json == [
                "kind": "Secret", "apiVersion": "v1", "metadata": ["name": "s"],
                "data": ["k": "/wA="], "type": "Opaque",
            ])
    }

    @Test func readsNumbersListsAndEitherForms() throws {
        let target: [UInt8] = [0x08, 0x01] + Self.field(3, Array("http".utf8))  // type 1: string
        let port: [UInt8] = Self.field(1, Array("web".utf8)) + [0x18, 0x50] + Self.field(4, target)
        let spec = Self.field(1, port) + Self.field(1, [0x18, 0x51])
        let json = try ProtobufDecoder.decode(
            Self.envelope("v1", "Service", Self.field(2, spec)))
        #expect(
            json["spec", "ports"] == [
                ["name": "web", "port": 80, "targetPort": "http"], ["port": 81],
            ])
    }

    @Test(arguments: [
        [], [0x6B, 0x38, 0x73, 0x00], Array("{}".utf8),
        envelope("v1", "Nothing", []), envelope("v1", "Secret", [0x0A, 0x7F]),
        envelope(
            "v1", "Secret", [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
    ])
    func refusesOtherBytes(_ bytes: [UInt8]) {
        let error = #expect(throws: StatusError.self) { try ProtobufDecoder.decode(bytes) }
        #expect(error?.code == 400)
    }

    @Test func knowsEveryMessageItNames() {
        let special: Set<String> = [
            "meta.v1.Time", "meta.v1.MicroTime", "meta.v1.Duration", "resource.Quantity",
            "intstr.IntOrString", "meta.v1.FieldsV1", "runtime.RawExtension", "meta.v1.Verbs",
            "authentication.v1.ExtraValue", "authorization.v1.ExtraValue",
        ]
        for name in ProtobufMessages.builtIn.referenced {
            #expect(special.contains(name) || ProtobufMessages.builtIn[name] != nil, "\(name)")
        }
    }

    /// Both tables name the same fields: one that JSON does not know would refuse every object.
    @Test func namesFieldsAsJSONDoes() {
        var strangers: [String] = []
        for (message, fields) in ProtobufMessages.builtIn.all {
            guard let schema = BuiltInKinds.library[message], schema.form == .object else {
                continue
            }
            for field in fields.values where !ProtobufDecoder.inlined.contains(field.name) {
                if schema.field(field.name) == nil { strangers.append("\(message).\(field.name)") }
            }
        }
        #expect(strangers.isEmpty, "\(strangers.sorted())")
    }

    /// A pointer to zero says something, as in `kubectl create pdb --max-unavailable=0`.
    @Test func keepsTheZeroOfAPointer() throws {
        let zero: [UInt8] = [0x08, 0x00, 0x10, 0x00, 0x1A, 0x00]  // type, intVal, strVal
        let json = try ProtobufDecoder.decode(
            Self.envelope(
                "policy/v1", "PodDisruptionBudget", Self.field(2, Self.field(3, zero))))
        #expect(json["spec"] == ["maxUnavailable": 0])
    }
}

extension ProtobufMessages {
    /// The messages that fields refer to.
    fileprivate var referenced: Set<String> {
        func names(_ type: FieldType) -> [String] {
            switch type {
            case .message(let name): [name]
            case .list(let inner), .map(let inner): names(inner)
            default: []
            }
        }
        return Set(all.values.flatMap { $0.values.flatMap { names($0.type) } })
    }
}
