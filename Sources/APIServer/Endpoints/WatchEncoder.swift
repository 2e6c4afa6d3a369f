import Informer
import JSON
import KubernetesAPI
import NIOCore
import Store

/// Writes the lines of a watch. A plain line is made once for all watchers of an event; tables and
/// metadata are made for each.
struct WatchEncoder: Sendable {
    var kind: Kind
    var form: ResponseForm
    var filter: ObjectFilter
    var includeObject: TableObjectPolicy
    /// True where other versions of the resource share the stored form.
    var isShared = false

    func initial(_ objects: ArraySlice<StoredObject>) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        for object in objects where filter.matches(object) {
            if form == .object {
                buffer.writeBytes(Self.line("ADDED", try bytes(object)))
            } else {
                buffer.writeBytes(try converted("ADDED", json(object), object.revision))
            }
        }
        return buffer
    }

    func lines(_ events: [StoreEvent]) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        for event in events {
            guard let seen = try seenKind(of: event) else { continue }
            // A change that takes an object out of the selection looks like its deletion: the
            // watcher gets the state it knew.
            if seen == .deleted, event.kind != .deleted {
                guard var json = try event.previous.map(json) else { continue }
                json["metadata", "resourceVersion"] = .string(String(event.revision))
                buffer.writeBytes(
                    form == .object
                        ? Self.line("DELETED", json.serializedBytes)
                        : try converted("DELETED", json, event.revision))
            } else if form == .object, isShared {
                buffer.writeBytes(Self.line(Self.name(seen), try bytes(event.object)))
            } else if form == .object {
                buffer.writeBytes(
                    event.encodedLine(seen) { Self.line(Self.name(seen), event.object.bytes) })
            } else {
                buffer.writeBytes(
                    try converted(
                        Self.name(seen), json(event.object), event.revision))
            }
        }
        return buffer
    }

    private func bytes(_ object: StoredObject) throws -> [UInt8] {
        isShared ? try json(object).serializedBytes : object.bytes
    }

    private func json(_ object: StoredObject) throws -> JSONValue {
        let stored = try object.decoded()
        guard isShared else { return stored }
        var json = kind.shown(stored)
        json["apiVersion"] = .string(kind.resource.apiVersion)
        return json
    }

    /// What the event is for a watcher with this selection; nil where it is nothing.
    private func seenKind(of event: StoreEvent) throws -> StoreEvent.Kind? {
        guard !filter.isEmpty else { return event.kind }
        let before = event.previous.map(filter.matches) ?? false
        let after = event.kind != .deleted && filter.matches(event)
        switch (before, after) {
        case (false, false): return nil
        case (false, true): return .added
        case (true, true): return .modified
        case (true, false): return .deleted
        }
    }

    /// Tells the watcher the revision it has reached.
    func bookmark(_ revision: Int64, isInitialEnd: Bool = false) -> ByteBuffer {
        var metadata: JSONValue = ["resourceVersion": .string(String(revision))]
        metadata["creationTimestamp"] = .null
        if isInitialEnd { metadata["annotations"] = ["k8s.io/initial-events-end": "true"] }
        var object: JSONValue
        switch form {
        case .object:
            object = [
                "kind": .string(kind.resource.kind),
                "apiVersion": .string(kind.resource.apiVersion), "metadata": metadata,
            ]
        case .metadata(let version):
            object = [
                "kind": "PartialObjectMetadata",
                "apiVersion": .string("meta.k8s.io/\(version)"), "metadata": metadata,
            ]
        case .table(let version):
            object = [
                "kind": "Table", "apiVersion": .string("meta.k8s.io/\(version)"),
                "metadata": ["resourceVersion": .string(String(revision))],
                "columnDefinitions": [],
                "rows": [["cells": [], "object": ["metadata": metadata]]],
            ]
        }
        return ByteBuffer(bytes: Self.line("BOOKMARK", object.serializedBytes))
    }

    static func errorLine(_ error: StatusError) -> ByteBuffer {
        ByteBuffer(bytes: line("ERROR", error.json.serializedBytes))
    }

    private func converted(
        _ type: String, _ json: JSONValue, _ revision: Int64
    ) throws -> [UInt8] {
        switch form {
        case .object: return Self.line(type, json.serializedBytes)
        case .metadata(let version):
            let object: JSONValue = [
                "kind": "PartialObjectMetadata",
                "apiVersion": .string("meta.k8s.io/\(version)"),
                "metadata": json["metadata"] ?? [:],
            ]
            return Self.line(type, object.serializedBytes)
        case .table(let version):
            let table = kind.table(
                [json], listMetadata: ["resourceVersion": .string(String(revision))],
                include: includeObject, version: version, now: .now)
            return Self.line(type, table.serializedBytes)
        }
    }

    static func name(_ kind: StoreEvent.Kind) -> String {
        switch kind {
        case .added: "ADDED"
        case .modified: "MODIFIED"
        case .deleted: "DELETED"
        }
    }

    private static func line(_ type: String, _ object: [UInt8]) -> [UInt8] {
        var line: [UInt8] = []
        line.reserveCapacity(object.count + 40)
        line.append(contentsOf: "{\"type\":\"".utf8)
        line.append(contentsOf: type.utf8)
        line.append(contentsOf: "\",\"object\":".utf8)
        line.append(contentsOf: object)
        line.append(contentsOf: "}\n".utf8)
        return line
    }
}
