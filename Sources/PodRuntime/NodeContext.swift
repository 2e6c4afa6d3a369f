import Informer
import JSON
import KubernetesAPI
import Logging
import NetworkTypes
import Synchronization

/// What all pods of a node share.
final class NodeContext: Sendable {
    let configuration: NodeAgent.Configuration
    let client: any KubernetesClient
    let runtime: ContainerRuntime
    let images: ImageStore
    let network: PodNetwork
    /// Waits for the nodes before a pod ends; nil where nobody programs Services.
    let drain: PodDrain?
    let logger: Logger
    /// The pods' addresses; nil until the node's pod CIDR is known.
    private let addresses: Mutex<PodAddresses?>
    private let events: AsyncStream<PodEvent>
    private let eventsInput: AsyncStream<PodEvent>.Continuation
    private let droppedEvents = Atomic<Int>(0)

    /// Events that may wait to be written; later ones are dropped and counted.
    private static let eventLimit = 1024

    /// An event about a pod.
    struct PodEvent: Sendable {
        var type: EventRecorder.EventType
        var reason: String
        var message: String
        var pod: ObjectMeta
    }

    init(
        configuration: NodeAgent.Configuration, client: any KubernetesClient,
        cache: ClusterCache? = nil, logger: Logger
    ) {
        self.configuration = configuration
        self.client = client
        self.logger = logger
        runtime = ContainerRuntime(
            stateDirectory: configuration.dataDirectory + "/runc",
            exitDirectory: configuration.dataDirectory + "/exits")
        images = ImageStore(
            directory: configuration.imageDirectory, executablePath: configuration.executablePath)
        network = PodNetwork(
            namePrefix: configuration.namePrefix, lanAddress: configuration.lanAddress,
            node: NodeNamespace(name: configuration.networkNamespaceName))
        drain = cache.map {
            PodDrain(
                cache: $0, client: client,
                node: NodeNamespace(name: configuration.networkNamespaceName), logger: logger)
        }
        addresses = Mutex(configuration.podCIDR.map(PodAddresses.init(prefix:)))
        (events, eventsInput) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingOldest(Self.eventLimit))
    }

    // MARK: - Places

    /// The directory of all pods.
    var podsDirectory: String { configuration.dataDirectory + "/pods" }
    /// The directory of one pod.
    func podDirectory(_ uid: String) -> String { podsDirectory + "/" + uid }
    /// The log of one run of a container.
    func logPath(_ uid: String, _ container: String, attempt: Int) -> String {
        podDirectory(uid) + "/logs/\(container)/\(attempt).log"
    }

    // MARK: - Addresses

    /// True once the node's pod CIDR is known.
    var hasPodCIDR: Bool { addresses.withLock { $0 != nil } }

    /// Takes the node's pod CIDR, where none was known.
    func learn(podCIDR: Prefix) {
        addresses.withLock { if $0 == nil { $0 = PodAddresses(prefix: podCIDR) } }
    }

    /// Gives a pod an address, or nil where none is free or the pod CIDR is not known.
    func allocateAddress(uid: String, preferred: IPAddress?) -> IPAddress? {
        addresses.withLock { $0?.allocate(uid: uid, preferred: preferred) }
    }

    /// Gives a pod's address back.
    func releaseAddress(uid: String) { addresses.withLock { $0?.release(uid: uid) } }

    // MARK: - Events

    /// Has an event about a pod written, without waiting.
    func record(
        _ type: EventRecorder.EventType, _ reason: String, _ message: String, _ pod: ObjectMeta
    ) {
        let event = PodEvent(type: type, reason: reason, message: message, pod: pod)
        if case .dropped = eventsInput.yield(event) {
            droppedEvents.add(1, ordering: .relaxed)
        }
    }

    /// Writes events until the task is cancelled.
    func writeEvents() async {
        let recorder = EventRecorder(
            client: client, component: "kubelet", host: configuration.nodeName, logger: logger)
        for await event in events {
            await recorder.record(
                event.type, reason: event.reason, message: event.message,
                regarding: ObjectReference(.pods, event.pod))
        }
    }
}
