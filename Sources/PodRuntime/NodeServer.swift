/// placeholder
final class NodeServer: Sendable {
    init(context: NodeContext, pods: PodManager, watcher: DirectoryWatcher) {}
    func start(port: Int, certificatePath: String, keyPath: String, clientAuthorityPath: String)
        async throws
    {}
    func stop() async throws {}
}
