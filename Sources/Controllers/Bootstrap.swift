import Informer
import JSON
import KubernetesAPI
import NetworkTypes

/// The objects that every cluster has from its first moment. Each is created where it is missing
/// and otherwise left as it is: a person may have changed it.
struct Bootstrap {
    let configuration: ControllerManager.Configuration

    /// Creates what is missing.
    func run(_ client: any KubernetesClient) async throws {
        for (resource, object) in objects {
            do {
                _ = try await client.create(resource, object)
            } catch let error as StatusError where error.isAlreadyExists {
                continue
            }
        }
    }

    /// The objects, in the order in which they have to come.
    var objects: [(Resource, JSONValue)] {
        let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"].map { name in
            (
                Resource.namespaces,
                [
                    "apiVersion": "v1", "kind": "Namespace", "metadata": ["name": .string(name)],
                ] as JSONValue
            )
        }
        var objects = namespaces
        if let address = configuration.dnsAddress { objects.append((.services, dns(address))) }
        objects.append(
            (.configMaps, configMap("coredns", labels: [:], ["Corefile": corefile])))
        let proxy = configuration.kubeProxyConfiguration
        if !proxy.isEmpty {
            let labels = ["app": "kube-proxy"]
            objects.append(
                (.configMaps, configMap("kube-proxy", labels: labels, ["config.conf": proxy])))
        }
        return objects
    }

    private func configMap(
        _ name: String, labels: [String: String], _ data: [String: String]
    ) -> JSONValue {
        var metadata: JSONValue = ["name": .string(name), "namespace": "kube-system"]
        if !labels.isEmpty { metadata["labels"] = JSONValue(labels) }
        return [
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": JSONValue(data),
        ]
    }

    /// The Service as kubeadm makes it, but without a selector: each node answers itself.
    private func dns(_ address: IPAddress) -> JSONValue {
        func port(_ name: String, _ number: Int64, _ transport: String) -> JSONValue {
            [
                "name": .string(name), "port": .integer(number), "protocol": .string(transport),
                "targetPort": .integer(number),
            ]
        }
        return [
            "apiVersion": "v1", "kind": "Service",
            "metadata": [
                "name": "kube-dns", "namespace": "kube-system",
                "labels": [
                    "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true",
                    "kubernetes.io/name": "CoreDNS",
                ],
                "annotations": [
                    "prometheus.io/port": "9153", "prometheus.io/scrape": "true",
                ],
            ],
            "spec": [
                "type": "ClusterIP", "clusterIP": .string(address.description),
                "ports": [
                    port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP"),
                    port("metrics", 9153, "TCP"),
                ],
            ],
        ]
    }

    /// kubeadm's Corefile.
    private var corefile: String {
        """
        .:53 {
            errors
            health {
               lameduck 5s
            }
            ready
            kubernetes \(configuration.clusterDomain) in-addr.arpa ip6.arpa {
               pods insecure
               fallthrough in-addr.arpa ip6.arpa
               ttl 30
            }
            prometheus :9153
            forward . /etc/resolv.conf {
               max_concurrent 1000
            }
            cache 30
            loop
            reload
            loadbalance
        }

        """
    }
}
