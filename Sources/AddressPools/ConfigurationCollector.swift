import JSON
public import KubernetesAPI

/// Collects the objects that make up the configuration until all of them have been listed once,
/// and then reads the whole anew at each change. It is small, a few dozen objects at most.
public struct ConfigurationCollector: Sendable {
    private var configMapText: ConfigMapText = .absent
    private var configMapUID = ""
    private var objects: [Key: Object] = [:]

    private enum ConfigMapText: Hashable, Sendable {
        case absent
        case text(String)
        case keyMissing
    }

    private struct Key: Hashable, Sendable {
        var kind: String
        var key: ObjectKey
    }

    /// Makes a collector without objects.
    public init() {}

    /// Takes in a ConfigMap or an object of metallb.io; nil where it is gone.
    /// - Returns: true where it matters to the configuration.
    public mutating func update(kind: String, _ key: ObjectKey, _ object: Object?) -> Bool {
        if kind == Resource.configMaps.kind {
            guard key == ConfigurationSource.configMap.key else { return false }
            let before = configMapText
            configMapUID = object?.metadata.uid ?? ""
            configMapText =
                object.map { object in
                    object.json["data", "config"]?.string.map(ConfigMapText.text) ?? .keyMissing
                } ?? .absent
            return before != configMapText
        }
        let place = Key(kind: kind, key: key)
        let isSame =
            objects[place]?.json["spec"] == object?.json["spec"]
            && objects[place]?.metadata.labels == object?.metadata.labels
            && (objects[place] == nil) == (object == nil)
            && objects[place]?.metadata.deletionTimestamp == object?.metadata.deletionTimestamp
        // A list's items need not carry their kind.
        objects[place] = object.map { object in
            var json = object.json
            json["kind"] = .string(kind)
            return Object(json: json)
        }
        return !isSame
    }

    /// Reads the whole.
    public func read() -> Result<LoadBalancerConfiguration, ConfigurationError> {
        do throws(ConfigurationError) {
            var text: String?
            switch configMapText {
            case .absent: break
            case .text(let found): text = found
            case .keyMissing:
                var error = ConfigurationError()
                error.add(
                    .configMap,
                    ConfigurationFault(field: "data", message: "key \"config\" is missing"))
                throw error
            }
            return .success(
                try LoadBalancerConfiguration(
                    configMapText: text, objects: Array(objects.values)))
        } catch {
            return .failure(error)
        }
    }

    /// The objects of `kind`, for writing their status.
    func objects(kind: String) -> [Object] {
        objects.filter { $0.key.kind == kind }.map(\.value)
    }

    /// The uid of the object that an event is about; empty where it is not known.
    func uid(_ source: ConfigurationSource) -> String {
        source == .configMap
            ? configMapUID : objects[Key(kind: source.kind, key: source.key)]?.metadata.uid ?? ""
    }
}
