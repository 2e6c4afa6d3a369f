import ArgumentParser
import Glibc
import Informer
import JSON
import KubernetesAPI
import NFTables
import Netlink
import NetworkTypes
import ServiceProxy

/// `portolan trace`: the way a connection takes, in words, from a node's own kernel tables.
struct TraceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract:
            "Explain which way a connection to a Service takes, from the kernel's own tables.",
        discussion: """
            portolan trace debug web          from the pod "debug", every port of the Service "web"
            portolan trace debug shop/web:80  one port of a Service of another namespace
            portolan trace 172.30.0.1 web     from a machine outside
            portolan trace web --node 2       from the node portolan-node-2 itself
            portolan trace debug 10.96.3.4:53/UDP
            """)

    @Argument(
        help: """
            Where from (a pod, NAMESPACE/POD or an address; the node itself by default), and where \
            to: SERVICE[:PORT] or ADDRESS:PORT.
            """)
    var words: [String]

    @Option(help: "The node whose tables are asked; by default the pod's own, else the first.")
    var node: String?

    @Option(name: [.short, .long], help: "The namespace of names that give none.")
    var namespace = "default"

    @OptionGroup var identity: IdentityOptions

    @Option(help: "The kubeconfig to use; DATA-DIR/admin.kubeconfig by default.")
    var kubeconfig: String?

    func validate() throws {
        guard (1...2).contains(words.count) else {
            throw ValidationError("trace takes one or two: [POD|ADDRESS] SERVICE[:PORT]")
        }
    }

    func run() async throws {
        guard geteuid() == 0 else {
            throw CommandFailure("portolan trace reads the kernel's tables: run it as root")
        }
        let target = try TraceTarget(words[words.count - 1], namespace: namespace)
        let objects = try await readObjects()
        let plan = try TracePlan(
            source: words.count == 2 ? words[0] : nil, target: target, nodeName: node,
            namespace: namespace, objects: objects)
        let tables = try Self.readTables(of: plan.node, named: identity.name)
        for line in TraceReport(plan: plan, objects: objects).lines(tables) { print(line) }
    }

    private func readObjects() async throws -> TraceObjects {
        let path = kubeconfig ?? DataDirectory(path: identity.dataDir).adminKubeconfig
        if kubeconfig == nil, RunDirectory(name: identity.name).supervisor() == nil {
            throw CommandFailure(
                "no Portolan named \"\(identity.name)\" is running: start it with portolan up, or "
                    + "give --kubeconfig on a node of a cluster")
        }
        do {
            let client = try RemoteClient(ClientConfiguration(kubeconfigPath: path))
            var objects = TraceObjects()
            try await client.shutDownAfter { objects = try await TraceObjects.read(from: client) }
            return objects
        } catch {
            throw CommandFailure("cannot ask the API server: \(error)")
        }
    }

    /// Reads the tables of a virtual node by its namespace's name; of a real node, on that node.
    private static func readTables(of node: Node, named name: String) throws -> NodeTables {
        let nodeName = node.metadata.name
        do {
            let namespace: NamespaceDescriptor
            if NetworkNamespace.exists(nodeName) {
                namespace = try NetworkNamespace.open(nodeName)
            } else {
                namespace = try NetworkNamespace.current()
            }
            let local = Set(try RouteSocket(in: namespace).addresses().map(\.address))
            guard
                NetworkNamespace.exists(nodeName)
                    || !local.isDisjoint(with: node.internalAddresses)
            else {
                throw CommandFailure(
                    "the node \(nodeName) is not on this machine: run portolan trace there, or "
                        + "choose another --node")
            }
            return try NodeTables(
                named: name, from: NFTablesKernel(in: namespace), localAddresses: local,
                sockets: NetworkNamespace.withThread(in: namespace) {
                    try ListeningSockets.ofThisNamespace()
                }, fastPath: FastPathTables(named: name, in: namespace))
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure("cannot read the tables of \(nodeName): \(error)")
        }
    }
}

extension TraceObjects {
    /// Reads everything a trace may speak of.
    static func read(from client: any KubernetesClient) async throws -> TraceObjects {
        func list(_ resource: Resource) async throws -> [JSONValue] {
            try await client.list(resource, ListOptions()).items
        }
        async let nodes = list(.nodes)
        async let pods = list(.pods)
        async let services = list(.services)
        async let slices = list(.endpointSlices)
        return TraceObjects(
            nodes: try await nodes.map(Node.init(json:)),
            pods: try await pods.map(Pod.init(json:)),
            services: try await services.map(Service.init(json:)),
            slices: try await slices.map(EndpointSlice.init(json:)))
    }
}
