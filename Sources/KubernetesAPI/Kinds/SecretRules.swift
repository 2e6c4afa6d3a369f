import JSON

/// What Secrets of the well-known types must hold.
enum SecretRules {
    static func validate(_ object: JSONValue) -> [FieldError] {
        func data(_ key: String) -> String? { object["data", key]?.string }
        func required(_ key: String) -> [FieldError] {
            data(key) == nil ? [.required("data[\(key)]")] : []
        }
        switch object["type"]?.string {
        case "kubernetes.io/service-account-token":
            let name = "kubernetes.io/service-account.name"
            let isNamed = !(object["metadata", "annotations", name]?.string ?? "").isEmpty
            return isNamed ? [] : [.required("metadata.annotations[\(name)]")]
        case "kubernetes.io/dockercfg": return required(".dockercfg")
        case "kubernetes.io/dockerconfigjson": return required(".dockerconfigjson")
        case "kubernetes.io/basic-auth":
            guard data("username") == nil, data("password") == nil else { return [] }
            return [.required("data[username]"), .required("data[password]")]
        case "kubernetes.io/ssh-auth":
            return (data("ssh-privatekey") ?? "").isEmpty
                ? [.required("data[ssh-privatekey]")] : []
        case "kubernetes.io/tls": return required("tls.crt") + required("tls.key")
        default: return []
        }
    }
}
