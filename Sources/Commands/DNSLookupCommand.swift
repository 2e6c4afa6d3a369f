import ArgumentParser
import DNS
import DNSServer
import Informer
import JSON
import KubernetesAPI
import NetworkTypes
import PodRuntime

/// `portolan dns`: looking into the cluster's DNS.
struct DNSCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dns", abstract: "Look into the cluster's DNS.",
        subcommands: [DNSLookupCommand.self])
}

/// `portolan dns lookup`: each step of a lookup as a pod makes it, which object answers, and why a
/// name does not exist.
struct DNSLookupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lookup",
        abstract: "Show each step of a lookup from a pod, what answers, and why a name does not.",
        discussion: """
            Reads the Services, EndpointSlices, namespaces and the coredns ConfigMap, and follows \
            the pod's search path over them. Nothing is asked of a DNS server.
            """)

    @OptionGroup var identity: IdentityOptions

    @Option(help: "The kubeconfig to use; DATA-DIR/admin.kubeconfig by default.")
    var kubeconfig: String?

    @Option(help: "The pod that asks; without one, an ordinary pod of the namespace.")
    var from: String?

    @Option(name: [.long, .customShort("n")], help: "The pod's namespace.")
    var namespace = "default"

    @Option(help: "The cluster domain, where the coredns ConfigMap names none.")
    var clusterDomain = "cluster.local"

    @Argument(help: "The name, as the pod would spell it, or an address.")
    var name: String

    @Argument(help: "The record type; A by default, PTR for an address.")
    var type: String?

    func validate() throws {
        if let type, RecordType(type) == nil {
            throw ValidationError(
                "\"\(type)\" is no record type; use A, AAAA, SRV, PTR, CNAME, TXT or TYPE<number>")
        }
        guard IPAddress(name) != nil || DNSName(name) != nil else {
            throw ValidationError(
                "\"\(name)\" is no DNS name: labels have 1 to 63 octets, the whole at most 253")
        }
        guard let domain = DNSName(clusterDomain), domain != .root else {
            throw ValidationError("--cluster-domain \"\(clusterDomain)\" is no DNS name")
        }
    }

    func run() async throws {
        let client = try identity.client(kubeconfig: kubeconfig)
        do {
            try await client.shutDownAfter {
                let source = try await LookupSource.read(
                    from: client, namespace: namespace, pod: from, clusterDomain: clusterDomain)
                print(try source.explain(name, type: type))
            }
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure("cannot ask the API server: \(error)")
        }
    }
}

/// What `dns lookup` reads, and the explanation as a pure function of it.
struct LookupSource: Sendable {
    var cluster: LookupExplanation.Cluster
    var resolver: LookupExplanation.Resolver
    /// What was noticed on the way, such as a Corefile that cannot be read.
    var remarks: [String] = []

    /// Reads everything that decides about a lookup.
    /// - Throws: `CommandFailure` where the pod is not there.
    static func read(
        from client: any KubernetesClient, namespace: String, pod name: String?,
        clusterDomain: String
    ) async throws -> LookupSource {
        func list(_ resource: Resource) async throws -> [JSONValue] {
            try await client.list(resource, ListOptions()).items
        }
        async let services = list(.services)
        async let slices = list(.endpointSlices)
        async let namespaces = list(.namespaces)
        async let pods = list(.pods)
        let corefile: String?
        do {
            let map = try await client.get(.configMaps, namespace: "kube-system", name: "coredns")
            corefile = map["data", "Corefile"]?.string
        } catch let error as StatusError where error.isNotFound {
            corefile = nil
        }
        let decodedPods = try await pods.map(Pod.init(json:))
        var pod: Pod?
        if let name {
            pod = decodedPods.first { $0.key == ObjectKey(namespace: namespace, name: name) }
            guard pod != nil else {
                throw CommandFailure(missing(name, namespace, decodedPods))
            }
        }
        return try LookupSource(
            corefile: corefile, clusterDomain: clusterDomain,
            namespaces: Dictionary(
                try await namespaces.map { ObjectMeta(json: $0) }.map { ($0.name, $0.labels) },
                uniquingKeysWith: { first, _ in first }),
            services: try await services.map(Service.init(json:)),
            slices: try await slices.map(EndpointSlice.init(json:)), pods: decodedPods,
            namespace: namespace, pod: pod)
    }

    /// Names the pods that are there, at most ten.
    private static func missing(_ name: String, _ namespace: String, _ pods: [Pod]) -> String {
        let elsewhere = pods.filter { $0.metadata.name == name }.map(\.metadata.namespace)
        if !elsewhere.isEmpty {
            return "there is no pod \(name) in namespace \(namespace), but one in "
                + "\(elsewhere.sorted().joined(separator: ", ")): use --namespace"
        }
        let here = pods.filter { $0.metadata.namespace == namespace }.map(\.metadata.name).sorted()
        return "there is no pod \(name) in namespace \(namespace)"
            + (here.isEmpty ? "" : "; there are \(here.prefix(10).joined(separator: ", "))")
    }

    init(
        corefile: String?, clusterDomain: String, namespaces: [String: [String: String]],
        services: [Service], slices: [EndpointSlice], pods: [Pod], namespace: String, pod: Pod?
    ) throws {
        let domain = DNSName(clusterDomain) ?? .root
        var settings = ClusterSettings(domain: domain)
        if let corefile {
            do {
                settings = try ClusterSettings(corefile: corefile, defaultDomain: domain)
            } catch {
                remarks.append(
                    "the coredns ConfigMap cannot be read, so kubeadm's default is shown and the "
                        + "servers keep their last good configuration: \(error)")
            }
        }
        cluster = LookupExplanation.Cluster(
            settings: settings, namespaces: namespaces, services: services, slices: slices,
            pods: pods)
        let shown = Set(cluster.services.map(\.key))
        let hidden = services.map { ServiceKey($0.key) }.filter { !shown.contains($0) }
        if !hidden.isEmpty {
            let names = hidden.map(\.description).sorted().prefix(10).joined(separator: ", ")
            remarks.append(
                "options of kubernetes in the coredns ConfigMap leave out \(hidden.count) Services: "
                    + names)
        }
        resolver = LookupExplanation.Resolver(namespace: namespace, zone: settings.domain)
        if let pod { resolver = Self.resolver(of: pod, services, settings) }
    }

    /// What the pod's resolv.conf says. The node's own file is not known here, so what
    /// `dnsPolicy: Default` takes from it is named and not followed.
    private static func resolver(
        of pod: Pod, _ services: [Service], _ settings: ClusterSettings
    ) -> LookupExplanation.Resolver {
        let key = ObjectKey(namespace: "kube-system", name: "kube-dns")
        let address = services.first { $0.key == key }?.clusterIPs.first ?? .v4(0x0A60_000A)
        var domain = settings.domain.description
        if domain.hasSuffix(".") { domain.removeLast() }
        let file = ResolverFile(
            parsing: PodFiles.resolvConf(
                of: pod, clusterDNS: address, domain: domain, nodeResolvConf: ""))
        let asksCluster = file.servers.first?.address == address
        let servers = file.servers.map(\.address.description).joined(separator: ", ")
        return LookupExplanation.Resolver(
            searchDomains: file.searchDomains, ndots: file.ndots,
            foreignServers: asksCluster
                ? nil : servers.isEmpty ? "the name servers of its node" : servers)
    }

    /// The steps as text.
    func explain(_ name: String, type: String?) throws -> String {
        var asked = name
        var wanted = type.flatMap { RecordType($0) } ?? .a
        if let address = IPAddress(name) {
            asked = DNSName(reverse: address).description
            if type == nil { wanted = .ptr }
        }
        guard
            let explanation = LookupExplanation(
                asked, type: wanted, resolver: resolver, in: cluster)
        else { throw CommandFailure("\"\(name)\" is no DNS name") }
        return ([explanation.description] + remarks.map { "note: " + $0 })
            .joined(separator: "\n")
    }
}
