public import JSON

/// A label selector: the terms must all hold. Text form and `metav1.LabelSelector` read into it.
public struct LabelSelector: Hashable, Sendable {
    /// The terms, all of which must hold; no term selects everything.
    public var requirements: [Requirement]

    /// One term.
    public struct Requirement: Hashable, Sendable {
        /// The key.
        public var key: String
        /// How key and values relate.
        public var operation: Operation
        /// The values to compare with.
        public var values: [String]

        /// Makes a term.
        public init(key: String, operation: Operation, values: [String] = []) {
            self.key = key
            self.operation = operation
            self.values = values
        }

        /// The operators of labels.Selector; `in` and `equals` behave alike.
        public enum Operation: String, Hashable, Sendable {
            case isIn = "In"
            case isNotIn = "NotIn"
            case exists = "Exists"
            case doesNotExist = "DoesNotExist"
            case greaterThan = "Gt"
            case lessThan = "Lt"
        }

        /// True where `labels` meet the term. NotIn holds for an absent key, as in Kubernetes.
        public func matches(_ labels: [String: String]) -> Bool {
            let value = labels[key]
            switch operation {
            case .isIn: return value.map(values.contains) ?? false
            case .isNotIn: return value.map { !values.contains($0) } ?? true
            case .exists: return value != nil
            case .doesNotExist: return value == nil
            case .greaterThan, .lessThan:
                guard let number = value.flatMap({ Int64($0) }),
                    let bound = values.first.flatMap({ Int64($0) })
                else { return false }
                return operation == .greaterThan ? number > bound : number < bound
            }
        }
    }

    /// Makes a selector of terms.
    public init(_ requirements: [Requirement] = []) { self.requirements = requirements }

    /// A selector that asks for each of `labels`.
    public init(matchLabels labels: [String: String]) {
        requirements = labels.sorted { $0.key < $1.key }
            .map { Requirement(key: $0.key, operation: .isIn, values: [$0.value]) }
    }

    /// Reads `metav1.LabelSelector` (`matchLabels`, `matchExpressions`).
    public init(json: JSONValue) {
        self.init(matchLabels: json["matchLabels"]?.stringMap ?? [:])
        for expression in json["matchExpressions"]?.array ?? [] {
            guard let key = expression["key"]?.string,
                let operation = expression["operator"]?.string
                    .flatMap(Requirement.Operation.init(rawValue:))
            else { continue }
            requirements.append(
                Requirement(
                    key: key, operation: operation,
                    values: (expression["values"]?.array ?? []).compactMap(\.string)))
        }
    }

    /// True where `labels` meet every term.
    public func matches(_ labels: [String: String]) -> Bool {
        requirements.allSatisfy { $0.matches(labels) }
    }
}
