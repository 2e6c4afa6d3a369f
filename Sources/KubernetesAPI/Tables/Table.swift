public import JSON

/// What a row carries of its object (`includeObject`).
public enum TableObjectPolicy: String, Hashable, Sendable {
    case none = "None"
    case metadata = "Metadata"
    case object = "Object"
}

extension Kind {
    /// The cells of an object's row, in the order of `columns`.
    public func printedRow(_ object: JSONValue, now: Timestamp) -> [JSONValue] {
        if let row = rules.row { return row(object, now) }
        return columns.map { column in
            if let path = column.path {
                return Cells.custom(path.values(in: object), type: column.type, now: now)
            }
            return column.name == "Age" ? Cells.age(object, now) : Cells.name(object)
        }
    }

    /// One row of a Table.
    public func tableRow(
        _ object: JSONValue, include: TableObjectPolicy = .metadata, version: String = "v1",
        now: Timestamp
    ) -> JSONValue {
        var row: JSONValue = ["cells": .array(printedRow(object, now: now))]
        switch include {
        case .none: break
        case .metadata:
            row["object"] = [
                "kind": "PartialObjectMetadata", "apiVersion": .string("meta.k8s.io/\(version)"),
                "metadata": object["metadata"] ?? [:],
            ]
        case .object: row["object"] = object
        }
        return row
    }

    /// A Table of `objects` (Accept `as=Table;g=meta.k8s.io`).
    /// - Parameters:
    ///   - listMetadata: `resourceVersion` and, for a part of a list, `continue` and
    ///     `remainingItemCount`.
    ///   - version: `v1` or `v1beta1`.
    ///   - withColumns: false for the later events of a watch.
    public func table(
        _ objects: [JSONValue], listMetadata: JSONValue, include: TableObjectPolicy = .metadata,
        version: String = "v1", withColumns: Bool = true, now: Timestamp
    ) -> JSONValue {
        [
            "kind": "Table", "apiVersion": .string("meta.k8s.io/\(version)"),
            "metadata": listMetadata,
            "columnDefinitions": withColumns ? .array(columns.map(\.json)) : [],
            "rows": .array(
                objects.map {
                    tableRow($0, include: include, version: version, now: now)
                }),
        ]
    }
}

extension Kind {
    /// What `/scale` shows in a Table (`kubectl get --subresource=scale`).
    public static let scaleSubresource: Kind = {
        var kind = Kind(
            Resource(group: "autoscaling", plural: "scales", kind: "Scale"), schema: .any)
        kind.columns = PrintedColumn.columns("Desired,Available,Age")
        kind.rules.row = { scale, now in
            [
                Cells.name(scale), Cells.count(scale["spec", "replicas"]),
                Cells.count(scale["status", "replicas"]), Cells.age(scale, now),
            ]
        }
        return kind
    }()
}

/// The texts in cells, as kubectl's users know them.
enum Cells {
    static func name(_ object: JSONValue) -> JSONValue { object["metadata", "name"] ?? "" }

    static func age(_ object: JSONValue, _ now: Timestamp) -> JSONValue {
        .string(since(object["metadata", "creationTimestamp"], now))
    }

    /// How long ago `time` was; `<unknown>` without a time.
    static func since(_ time: JSONValue?, _ now: Timestamp) -> String {
        guard let text = time?.string, let time = Timestamp(text) else { return "<unknown>" }
        return duration(seconds: now.seconds - time.seconds)
    }

    /// The two largest units that matter (apimachinery's HumanDuration).
    static func duration(seconds: Int64) -> String {
        if seconds < -1 { return "<invalid>" }
        if seconds < 0 { return "0s" }
        let minutes = seconds / 60
        let hours = seconds / 3600
        if seconds < 120 { return "\(seconds)s" }
        if minutes < 10 { return pair(minutes, "m", seconds % 60, "s") }
        if minutes < 180 { return "\(minutes)m" }
        if hours < 8 { return pair(hours, "h", minutes % 60, "m") }
        if hours < 48 { return "\(hours)h" }
        if hours < 192 { return pair(hours / 24, "d", hours % 24, "h") }
        if hours < 24 * 365 * 2 { return "\(hours / 24)d" }
        if hours < 24 * 365 * 8 { return pair(hours / 24 / 365, "y", hours / 24 % 365, "d") }
        return "\(hours / 24 / 365)y"
    }

    private static func pair(_ a: Int64, _ unitA: String, _ b: Int64, _ unitB: String) -> String {
        b == 0 ? "\(a)\(unitA)" : "\(a)\(unitA)\(b)\(unitB)"
    }

    static func text(_ value: JSONValue?, or fallback: String = "<none>") -> JSONValue {
        guard let text = value?.string, !text.isEmpty else { return .string(fallback) }
        return .string(text)
    }

    static func count(_ value: JSONValue?) -> JSONValue { .integer(value?.integer ?? 0) }

    /// `a=b,c=d`, by key.
    static func labels(_ value: JSONValue?) -> JSONValue {
        let labels = value?.stringMap ?? [:]
        guard !labels.isEmpty else { return "<none>" }
        return .string(
            labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
                .joined(separator: ","))
    }

    /// A LabelSelector as text.
    static func selector(_ value: JSONValue?) -> JSONValue {
        guard let value else { return "<none>" }
        let text = LabelSelector(json: value).description
        return .string(text.isEmpty ? "<none>" : text)
    }

    static func list(_ texts: [String], or fallback: String = "<none>") -> JSONValue {
        .string(texts.isEmpty ? fallback : texts.joined(separator: ","))
    }

    static func containers(_ template: JSONValue?) -> [JSONValue] {
        let containers = template?["spec", "containers"]?.array ?? []
        return [
            list(containers.compactMap { $0["name"]?.string }, or: ""),
            list(containers.compactMap { $0["image"]?.string }, or: ""),
        ]
    }

    /// A cell of a custom resource's column.
    static func custom(_ values: [JSONValue], type: String, now: Timestamp) -> JSONValue {
        guard let first = values.first else { return type == "string" ? "" : .null }
        switch type {
        case "date": return .string(since(first, now))
        case "integer", "number", "boolean": return first
        default:
            if values.count == 1 { return .string(first.string ?? first.serializedText) }
            return .string(
                values.map { $0.string ?? $0.serializedText }.joined(separator: ","))
        }
    }
}
