public import JSON

/// The service account of a pod and the volume by which its containers get a token of it (the
/// admission plugin ServiceAccount, with bound tokens of KEP-1205).
public enum PodIdentity {
    /// Where containers find token, authority and namespace.
    public static let mountPath = "/var/run/secrets/kubernetes.io/serviceaccount"
    private static let volumePrefix = "kube-api-access-"
    /// A little more than an hour, as Kubernetes has it: longer tokens could be told apart.
    private static let tokenSeconds: Int64 = 3607
    private static let containerLists = ["initContainers", "containers", "ephemeralContainers"]

    /// The name of the pod's service account; `default` where it names none.
    public static func accountName(_ pod: JSONValue) -> String {
        // The older name of the field still counts where the newer one is empty.
        let names = ["serviceAccountName", "serviceAccount"].compactMap {
            pod["spec", $0]?.string
        }
        return names.first { !$0.isEmpty } ?? "default"
    }

    /// Gives a new pod its account's name, pull secrets and, unless pod or account say no, token.
    /// - Parameter suffix: makes the volume's name unique.
    public static func apply(account: JSONValue, to pod: inout JSONValue, suffix: String) {
        let name = accountName(pod)
        pod["spec", "serviceAccountName"] = .string(name)
        pod["spec", "serviceAccount"] = .string(name)
        if (pod["spec", "imagePullSecrets"]?.array ?? []).isEmpty,
            let secrets = account["imagePullSecrets"]?.array, !secrets.isEmpty
        {
            pod["spec", "imagePullSecrets"] = .array(secrets)
        }
        let wants =
            pod["spec", "automountServiceAccountToken"]?.bool
            ?? account["automountServiceAccountToken"]?.bool ?? true
        if wants { mountToken(&pod, suffix) }
    }

    private static func mountToken(_ pod: inout JSONValue, _ suffix: String) {
        var volumes = pod["spec", "volumes"]?.array ?? []
        let held = volumes.lazy.compactMap { $0["name"]?.string }
            .first { $0.hasPrefix(volumePrefix) }
        let name = held ?? volumePrefix + suffix
        var isMounted = false
        for list in containerLists {
            guard let containers = pod["spec", list]?.array else { continue }
            pod["spec", list] = .array(
                containers.map { container in
                    var mounts = container["volumeMounts"]?.array ?? []
                    guard !mounts.contains(where: { $0["mountPath"] == .string(mountPath) }) else {
                        return container
                    }
                    isMounted = true
                    mounts.append(
                        [
                            "name": .string(name), "readOnly": true,
                            "mountPath": .string(mountPath),
                        ])
                    var container = container
                    container["volumeMounts"] = .array(mounts)
                    return container
                })
        }
        guard isMounted, held == nil else { return }
        volumes.append(volume(name))
        pod["spec", "volumes"] = .array(volumes)
    }

    private static func volume(_ name: String) -> JSONValue {
        [
            "name": .string(name),
            "projected": [
                "sources": [
                    [
                        "serviceAccountToken": [
                            "expirationSeconds": .integer(tokenSeconds), "path": "token",
                        ]
                    ],
                    [
                        "configMap": [
                            "name": "kube-root-ca.crt",
                            "items": [["key": "ca.crt", "path": "ca.crt"]],
                        ]
                    ],
                    [
                        "downwardAPI": [
                            "items": [
                                [
                                    "path": "namespace",
                                    "fieldRef": [
                                        "apiVersion": "v1", "fieldPath": "metadata.namespace",
                                    ],
                                ]
                            ]
                        ]
                    ],
                ], "defaultMode": 420,
            ],
        ]
    }
}
