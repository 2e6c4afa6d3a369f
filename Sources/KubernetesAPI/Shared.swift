/// A value that several holders keep once between them. A Service takes some 400 bytes in each
/// dictionary that holds it inline, and in the table's empty places as well.
public final class Shared<Value: Sendable>: Sendable {
    /// The value.
    public let value: Value

    /// Keeps a value.
    public init(_ value: Value) { self.value = value }
}

/// A value in memory of its own: nothing but a reference where it is, for a part that few have of
/// a whole that many are kept of.
public indirect enum Boxed<Value: Hashable & Sendable>: Hashable, Sendable {
    /// The value.
    case value(Value)

    /// The value inside.
    public var value: Value {
        switch self {
        case .value(let value): value
        }
    }
}

extension Boxed {
    /// Puts a value in a box; nil stays nil.
    init?(_ value: Value?) {
        guard let value else { return nil }
        self = .value(value)
    }
}
