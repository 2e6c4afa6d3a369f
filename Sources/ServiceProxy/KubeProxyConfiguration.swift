import JSON
public import NetworkTypes
import Yams

/// The fields of a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) that mean something to
/// this proxy, and warnings about the others. kube-proxy's users keep their configuration: what has
/// no equal here is named, never silently dropped.
public struct KubeProxyConfiguration: Hashable, Sendable {
    /// `mode`; empty for the proxy's choice.
    public var mode = ""
    /// `ipvs.strictARP`: nodes answer ARP only for addresses of the link that was asked.
    public var isARPStrict = false
    /// `clusterCIDR`: where pods' addresses come from; empty leaves the agent's own setting.
    public var clusterCIDRs: [Prefix] = []
    /// `nodePortAddresses`; nil for the default, the node's primary addresses.
    public var nodePortAddresses: NodePortAddresses?
    /// `nftables.masqueradeBit`, 0–31.
    public var masqueradeBit: Int?
    /// `nftables.masqueradeAll`
    public var masqueradesAll = false
    /// `healthzBindAddress`, such as `0.0.0.0:10256`; nil leaves the agent's own setting.
    public var healthBindAddress: String?
    /// `metricsBindAddress`; nil leaves the agent's own setting.
    public var metricsBindAddress: String?
    /// `nftables.syncPeriod`: how often the kernel is compared with memory, in seconds.
    public var syncPeriodSeconds: Int?
    /// `conntrack.tcpBeLiberal`; where false, packets out of a connection's window are dropped.
    public var isTCPLiberal: Bool?
    /// Kernel parameters (`net/netfilter/…`) with the values that `conntrack` asks for.
    public var conntrackSysctls: [String: Int] = [:]
    /// `conntrack.maxPerCore`: tracked connections allowed, times the processors; nil or 0 leaves
    /// the limit as it is.
    public var conntrackMaximumPerCore: Int?
    /// `conntrack.min`: the least limit that `maxPerCore` may give.
    public var conntrackMinimum: Int?
    /// Fields that have no effect, each with a reason, in the order of the text.
    public var warnings: [String] = []

    /// Which addresses of the node answer node ports.
    public enum NodePortAddresses: Hashable, Sendable {
        /// The node's InternalIP addresses.
        case primary
        /// Those within prefixes.
        case within([Prefix])
    }

    /// The configuration without any field set.
    public init() {}

    /// The limit of tracked connections on a machine of so many processors, as kube-proxy computes
    /// it; nil where none is asked for.
    func conntrackLimit(processorCount: Int) -> Int? {
        guard let perCore = conntrackMaximumPerCore, perCore > 0 else { return nil }
        return max(perCore * processorCount, conntrackMinimum ?? 0)
    }

    /// Reads the YAML or JSON text of a KubeProxyConfiguration.
    /// - Throws: `KubeProxyConfigurationError` where it is none, naming the field.
    public init(yaml text: String) throws(KubeProxyConfigurationError) {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw KubeProxyConfigurationError(field: "", message: "cannot be read: \(error)")
        }
        guard let root else { throw KubeProxyConfigurationError(field: "", message: "is empty") }
        try self.init(json: JSONValue(yaml: root, depth: 0))
    }

    /// The configuration that a new standalone cluster has: kubeadm's fields, so that what people
    /// know how to edit is there to be edited.
    public static func defaultYAML(clusterCIDR: Prefix?) -> String {
        """
        apiVersion: kubeproxy.config.k8s.io/v1alpha1
        bindAddress: 0.0.0.0
        bindAddressHardFail: false
        clientConnection:
          acceptContentTypes: ""
          burst: 0
          contentType: ""
          kubeconfig: ""
          qps: 0
        clusterCIDR: \(clusterCIDR.map { "\($0)" } ?? "\"\"")
        configSyncPeriod: 0s
        conntrack:
          maxPerCore: null
          min: null
          tcpBeLiberal: true
          tcpCloseWaitTimeout: null
          tcpEstablishedTimeout: null
          udpStreamTimeout: 0s
          udpTimeout: 0s
        detectLocal:
          bridgeInterface: ""
          interfaceNamePrefix: ""
        detectLocalMode: ""
        enableProfiling: false
        healthzBindAddress: ""
        hostnameOverride: ""
        iptables:
          localhostNodePorts: null
          masqueradeAll: false
          masqueradeBit: null
          minSyncPeriod: 0s
          syncPeriod: 0s
        ipvs:
          excludeCIDRs: null
          minSyncPeriod: 0s
          scheduler: ""
          strictARP: false
          syncPeriod: 0s
          tcpFinTimeout: 0s
          tcpTimeout: 0s
          udpTimeout: 0s
        kind: KubeProxyConfiguration
        logging:
          flushFrequency: 0
          options:
            json:
              infoBufferSize: "0"
            text:
              infoBufferSize: "0"
          verbosity: 0
        metricsBindAddress: ""
        mode: ""
        nftables:
          masqueradeAll: false
          masqueradeBit: null
          minSyncPeriod: 0s
          syncPeriod: 0s
        nodePortAddresses: null
        oomScoreAdj: null
        portRange: ""
        showHiddenMetricsForVersion: ""
        winkernel:
          enableDSR: false
          forwardHealthCheckVip: false
          networkName: ""
          rootHnsEndpointName: ""
          sourceVip: ""

        """
    }
}

/// A text that is no KubeProxyConfiguration.
public struct KubeProxyConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The field's path; empty for the whole.
    public var field: String
    /// What is wrong and what would be right.
    public var message: String

    /// The field and what is wrong with it.
    public var description: String {
        field.isEmpty
            ? "the KubeProxyConfiguration \(message)"
            : "KubeProxyConfiguration: \(field) \(message)"
    }
}

extension JSONValue {
    /// A YAML document as JSON; aliases are resolved, and nesting beyond a bound becomes null.
    fileprivate init(yaml node: Node, depth: Int) {
        guard depth < 32 else {
            self = .null
            return
        }
        switch node {
        case .scalar(let scalar):
            if let bool = node.bool, scalar.style == .plain {
                self = .bool(bool)
            } else if let integer = node.int, scalar.style == .plain {
                self = .integer(Int64(integer))
            } else if scalar.style == .plain, node.null != nil {
                self = .null
            } else {
                self = .string(scalar.string)
            }
        case .sequence(let sequence):
            self = .array(sequence.map { JSONValue(yaml: $0, depth: depth + 1) })
        case .mapping(let mapping):
            var object = JSONObject()
            for (key, value) in mapping {
                object[key.string ?? ""] = JSONValue(yaml: value, depth: depth + 1)
            }
            self = .object(object)
        case .alias: self = .null
        }
    }
}
